/*
 * hint.c: see hint.h.
 */
#include "cask/hint.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/os.h"

#include <holdfast/status.h>

#include <string.h>
#include <sys/mman.h>

/* -- the filter -- */

enum {
    BLOCK_BITS = 512, /* a line of cache */
    BLOCK_WORDS = BLOCK_BITS / 64,
    RECORD_BITS = 10, /* of the filter, a record */
    PROBES = 7,       /* bits a hash; 9 bits of it say which */
};

_Static_assert(PROBES * 9 <= 64, "a word says where the probes are");

static uint64_t filter_words(uint64_t count)
{
    return (count * RECORD_BITS + BLOCK_BITS - 1) / BLOCK_BITS * BLOCK_WORDS;
}

/* The block by the upper bits of the hash, the bits in it by a mix of all. */
static uint64_t block_of(uint64_t words, uint64_t hash)
{
    __extension__ typedef unsigned __int128 wide;

    return (uint64_t)((wide)hash * (words / BLOCK_WORDS) >> 64) * BLOCK_WORDS;
}

static uint64_t probes_of(uint64_t hash)
{
    return hf_hash_u64(hash, HF_CASK_HINT_MAGIC);
}

static void filter_add(uint64_t *filter, uint64_t words, uint64_t hash)
{
    uint64_t *block = filter + block_of(words, hash), probes = probes_of(hash);

    for (unsigned i = 0; i < PROBES; i++, probes >>= 9)
        block[probes % BLOCK_BITS / 64] |= UINT64_C(1) << probes % 64;
}

bool hf_hint_may_have(const hf_hint *hint, uint64_t hash)
{
    const uint64_t *block = hint->filter + block_of(hint->head->words, hash);
    uint64_t probes = probes_of(hash);

    if (hint->head->words == 0)
        return false;
    for (unsigned i = 0; i < PROBES; i++, probes >>= 9)
        if ((block[probes % BLOCK_BITS / 64] >> probes % 64 & 1) == 0)
            return false;
    return true;
}

/* -- making -- */

void hf_hint_maker_init(hf_hint_maker *maker, const uint64_t id[2], uint32_t number)
{
    *maker = (hf_hint_maker){
        .head = {.magic = HF_CASK_HINT_MAGIC,
                 .format = HF_CASK_FORMAT,
                 .id = {id[0], id[1]},
                 .number = number,
                 .first = UINT64_MAX,
                 .soonest = UINT64_MAX},
    };
}

int hf_hint_maker_add(hf_hint_maker *maker, uint64_t hash, const hf_record_out *record)
{
    struct hf_hint_head *head = &maker->head;
    unsigned kind = record->in.flags & HF_RECORD_KIND;
    uint64_t sequence = record->in.sequence, time = (uint64_t)record->in.time;

    if (kind != HF_RECORD_CLOCK) {
        void *longer = hf_grown(maker->entries, &maker->room, head->count + 1, sizeof *maker->entries);
        if (longer == NULL)
            return HF_NOMEM;
        maker->entries = longer;
        maker->entries[head->count++] = (struct hf_hint_entry){
            .hash = hash,
            .place = hf_cask_place((uint32_t)head->number, record->at, record->size, kind == HF_RECORD_DELETE),
            .sequence = sequence,
        };
    }
    head->first = sequence < head->first ? sequence : head->first;
    head->last = sequence > head->last ? sequence : head->last;
    head->clock = time > head->clock ? time : head->clock;
    if (record->in.expires != INT64_MAX && (uint64_t)record->in.expires < head->soonest)
        head->soonest = (uint64_t)record->in.expires;
    return 0;
}

void hf_hint_maker_clear(hf_hint_maker *maker)
{
    hf_free(maker->entries);
    maker->entries = NULL;
    maker->room = 0;
    maker->head.count = 0;
}

/* -- writing -- */

static uint64_t head_checksum(const struct hf_hint_head *head)
{
    return hf_checksum64(head, offsetof(struct hf_hint_head, checksum), HF_CASK_HINT_MAGIC);
}

enum { PIECES = 3 };

struct piece {
    const void *bytes;
    uint64_t size;
};

/* The pieces, and behind them the checksum of all. */
static int write_pieces(int fd, const struct piece pieces[PIECES])
{
    XXH3_state_t state;
    uint64_t at = 0, checksum;
    int result = 0;

    memset(&state, 0, sizeof state);
    XXH3_64bits_reset_withSeed(&state, HF_CASK_HINT_MAGIC);
    for (unsigned i = 0; result == 0 && i < PIECES; i++) {
        if (pieces[i].size == 0)
            continue;
        XXH3_64bits_update(&state, pieces[i].bytes, pieces[i].size);
        result = hf_os_pwrite_all(fd, pieces[i].bytes, pieces[i].size, (off_t)at);
        at += pieces[i].size;
    }
    checksum = XXH3_64bits_digest(&state);
    if (result == 0)
        result = hf_os_pwrite_all(fd, &checksum, sizeof checksum, (off_t)at);
    if (result == 0)
        result = hf_os_fdatasync(fd);
    return result < 0 ? hf_os_file_status(result) : 0;
}

/* Under the temporary name, with the descriptor closed. */
static int write_new(int folder, const char *name, const hf_hint_maker *maker, const uint64_t *filter, uint64_t *size)
{
    const struct piece pieces[PIECES] = {
        {&maker->head, sizeof maker->head},
        {maker->entries, maker->head.count * sizeof *maker->entries},
        {filter, maker->head.words * sizeof *filter},
    };
    uint64_t limit;
    int fd, status, result = hf_os_size_limit(&limit);

    *size = sizeof(uint64_t);
    for (unsigned i = 0; i < PIECES; i++)
        *size += pieces[i].size;
    if (result == 0 && *size > limit)
        result = -EFBIG;
    if (result == 0)
        result = hf_os_unlinkat(folder, name, 0); /* what a crash has left */
    if (result < 0 && result != -ENOENT)
        return hf_os_file_status(result);
    HF_OS_RETRY(fd, hf_os_openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (fd < 0)
        return hf_os_file_status(fd);
    status = write_pieces(fd, pieces);
    result = hf_os_close(fd);
    return status < 0 ? status : result < 0 ? hf_os_file_status(result) : 0;
}

static int filter_new(const hf_hint_maker *maker, uint64_t words, uint64_t **out)
{
    *out = NULL;
    if (words == 0)
        return 0;
    *out = hf_alloc(words * sizeof **out);
    if (*out == NULL)
        return HF_NOMEM;
    memset(*out, 0, words * sizeof **out);
    for (uint64_t i = 0; i < maker->head.count; i++)
        filter_add(*out, words, maker->entries[i].hash);
    return 0;
}

int hf_hint_write(int folder, hf_hint_maker *maker, uint64_t log_size, uint64_t *bytes)
{
    char name[HF_LOG_NAME_SIZE], new_name[HF_LOG_NAME_SIZE];
    struct hf_hint_head *head = &maker->head;
    uint64_t *filter, size = 0;
    int status;

    head->log_size = log_size;
    head->words = filter_words(head->count);
    head->checksum = head_checksum(head);
    hf_log_name((uint32_t)head->number, HF_HINT_SUFFIX, name);
    hf_log_name((uint32_t)head->number, HF_HINT_SUFFIX HF_NEW_SUFFIX, new_name);
    status = filter_new(maker, head->words, &filter);
    if (status < 0)
        return status;
    status = write_new(folder, new_name, maker, filter, &size);
    hf_free(filter);
    if (status == 0) {
        int result = hf_os_renameat2(folder, new_name, folder, name, 0);
        status = result < 0 ? hf_os_file_status(result) : 0;
    }
    if (status < 0)
        hf_os_unlinkat(folder, new_name, 0);
    else if (bytes != NULL)
        *bytes = size;
    return status;
}

/* -- reading -- */

/* All but the entries, of which there may be any number. */
static bool head_is_right(const struct hf_hint_head *head, const uint64_t id[2], uint32_t number, uint64_t log_size,
                          uint64_t size)
{
    uint64_t room = (size - sizeof *head - sizeof(uint64_t)) / sizeof(struct hf_hint_entry);

    return head->magic == HF_CASK_HINT_MAGIC && head->format == HF_CASK_FORMAT &&
           head->checksum == head_checksum(head) && head->id[0] == id[0] && head->id[1] == id[1] &&
           head->number == number && head->log_size == log_size && head->count <= room &&
           head->words == filter_words(head->count) &&
           size == sizeof *head + head->count * sizeof(struct hf_hint_entry) + head->words * sizeof(uint64_t) +
                       sizeof(uint64_t);
}

/* The size of a record is at most what its place says; of a large one that is only how large it is at least. */
static bool entries_are_right(const struct hf_hint_head *head, const struct hf_hint_entry *entries)
{
    bool wrong = false;

    for (uint64_t i = 0; i < head->count; i++) {
        uint64_t place = entries[i].place, at = hf_place_offset(place),
                 units = place >> HF_PLACE_SIZE_SHIFT & HF_PLACE_SIZE_MAX, size = units * HF_CASK_SIZE_UNIT;
        /* Rounded up: there may be 8 bytes less. */
        wrong |= hf_place_file(place) != head->number || at < HF_CASK_DATA_AT || units < 2 ||
                 at + size > head->log_size + HF_CASK_ALIGN || entries[i].sequence < head->first ||
                 entries[i].sequence > head->last;
    }
    return !wrong;
}

static bool is_right(const hf_hint *hint, const uint64_t id[2], uint32_t number, uint64_t log_size)
{
    const unsigned char *bytes = hint->mapped;
    uint64_t checksum, before = hint->size - sizeof checksum;

    if (!head_is_right(hint->head, id, number, log_size, hint->size))
        return false;
    memcpy(&checksum, bytes + before, sizeof checksum);
    return checksum == hf_checksum64(bytes, before, HF_CASK_HINT_MAGIC) &&
           entries_are_right(hint->head, hint->entries);
}

static int map(int fd, hf_hint *out)
{
    struct stat found;
    int result = hf_os_fstat(fd, &found);

    if (result < 0)
        return hf_os_status(result);
    if (!S_ISREG(found.st_mode) || (uint64_t)found.st_size < sizeof(struct hf_hint_head) + sizeof(uint64_t))
        return HF_CORRUPT;
    out->size = (size_t)found.st_size;
    result = hf_os_mmap(NULL, out->size, PROT_READ, MAP_SHARED, fd, 0, &out->mapped);
    return result < 0 ? hf_os_status(result) : 0;
}

int hf_hint_open(int folder, const uint64_t id[2], uint32_t number, uint64_t log_size, hf_hint *out)
{
    char name[HF_LOG_NAME_SIZE];
    hf_hint hint = {.mapped = NULL};
    int fd, status;

    hf_log_name(number, HF_HINT_SUFFIX, name);
    HF_OS_RETRY(fd, hf_os_openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0));
    if (fd < 0)
        return hf_os_file_status(fd);
    status = map(fd, &hint);
    hf_os_close(fd);
    if (status < 0)
        return status;
    hint.head = hint.mapped;
    hint.entries = (const struct hf_hint_entry *)(hint.head + 1);
    if (!is_right(&hint, id, number, log_size)) {
        hf_hint_close(&hint);
        return HF_CORRUPT;
    }
    hint.filter = (const uint64_t *)(hint.entries + hint.head->count);
    *out = hint;
    return 0;
}

void hf_hint_close(hf_hint *hint)
{
    if (hint->mapped != NULL)
        hf_os_munmap(hint->mapped, hint->size);
    *hint = (hf_hint){.mapped = NULL};
}

/* -- from a log -- */

int hf_hint_from_log(const hf_log_file *file, const uint64_t id[2], uint64_t seed,
                     int (*lost)(void *arg, uint64_t at, uint64_t size), void *arg, hf_hint_maker *out)
{
    uint64_t at = HF_CASK_DATA_AT, end = atomic_load_explicit(&file->end, memory_order_acquire);
    hf_hint_maker maker;
    int status = 0;

    hf_hint_maker_init(&maker, id, file->number);
    while (status == 0 && at < end) {
        hf_record_out record;
        int found = hf_record_read(file->bytes, end, at, file->salt, &record);
        if (found <= 0) {
            found = hf_record_resync(file->bytes, end, at, file->salt, &record);
            uint64_t to = found > 0 ? record.at : end;
            status = lost == NULL ? 0 : lost(arg, at, to - at);
            at = to;
        }
        if (status == 0 && found > 0) {
            uint64_t hash = hf_hash_bytes(record.in.key.bytes, record.in.key.size, seed);
            status = hf_hint_maker_add(&maker, hash, &record);
            at = record.at + record.size;
        }
    }
    if (status < 0) {
        hf_hint_maker_clear(&maker);
        return status;
    }
    *out = maker;
    return 0;
}
