/*
 * notes.c: what is known of each log file: how many records, how many of them no longer count.
 *
 * A sorted array: files are few, and nearly always the last one is asked for.
 *
 * Concurrency: of who owns the notes. Failure: HF_NOMEM; nothing has changed then.
 */
#include "cask/cask.h"

/* The first that is not before `number`. */
static size_t place_of(const hf_notes *notes, uint32_t number)
{
    size_t from = 0, to = notes->count;

    if (to > 0 && notes->note[to - 1].number < number)
        return to;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (notes->note[middle].number < number)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

hf_note *hf_notes_find(const hf_notes *notes, uint32_t number)
{
    size_t at = place_of(notes, number);

    return at < notes->count && notes->note[at].number == number ? &notes->note[at] : NULL;
}

int hf_notes_add(hf_notes *notes, uint32_t number, uint32_t kind, hf_note **out)
{
    size_t at = place_of(notes, number);

    if (at == notes->count || notes->note[at].number != number) {
        hf_note *note = hf_grown(notes->note, &notes->room, notes->count + 1, sizeof *note);
        if (note == NULL)
            return HF_NOMEM;
        notes->note = note;
        memmove(note + at + 1, note + at, (notes->count - at) * sizeof *note);
        note[at] = (hf_note){
            .number = number,
            .kind = kind,
            .now = {.first = UINT64_MAX, .soonest = UINT64_MAX},
            .changed = true,
        };
        notes->count++;
    }
    *out = &notes->note[at];
    return 0;
}

void hf_note_record(hf_note *note, const hf_record_in *record, uint64_t size)
{
    struct hf_keydir_note *now = &note->now;
    bool dead = (record->flags & HF_RECORD_KIND) != HF_RECORD_PUT;

    now->keys++;
    now->bytes += size;
    now->dead_keys += dead;
    now->dead_bytes += dead ? size : 0;
    if (record->sequence < now->first)
        now->first = record->sequence;
    if (record->sequence > now->last)
        now->last = record->sequence;
    if ((uint64_t)record->expires < now->soonest && record->expires != INT64_MAX)
        now->soonest = (uint64_t)record->expires;
    note->changed = true;
}

int hf_notes_copy(const hf_notes *from, hf_notes *out)
{
    hf_notes copy = {0};

    if (from->count > 0) {
        copy.note = hf_grown(NULL, &copy.room, from->count, sizeof *copy.note);
        if (copy.note == NULL)
            return HF_NOMEM;
        memcpy(copy.note, from->note, from->count * sizeof *copy.note);
        copy.count = from->count;
    }
    *out = copy;
    return 0;
}

void hf_notes_remove(hf_notes *notes, uint32_t number)
{
    hf_note *note = hf_notes_find(notes, number);

    if (note == NULL)
        return;
    size_t at = (size_t)(note - notes->note);
    memmove(note, note + 1, (notes->count - at - 1) * sizeof *note);
    notes->count--;
}

void hf_notes_clear(hf_notes *notes)
{
    hf_free(notes->note);
    *notes = (hf_notes){0};
}
