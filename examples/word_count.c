/*
 * word_count.c: counts the words of files, and keeps what was known after each file.
 *
 *      word_count FILE...
 *
 * It shows what persistent maps are for. After each file there is a new version of the counts, and all the versions
 * are kept, for little more than the memory of the last one. Any two can be compared at the cost of what differs.
 * And counts that were made apart, one map a file, can be merged.
 *
 * With the library installed:
 *
 *      cc word_count.c $(pkg-config --cflags --libs holdfast) -o word_count
 */
#include <holdfast/map.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* What a map of counts holds. The keys are counted by reference, the values are plain numbers. */
static const hf_map_type counts_type = {&hf_type_string, &hf_type_int64};

/* Every function that can fail returns a negative status; here that ends the program. */
static int check(int status)
{
    if (status < 0) {
        fprintf(stderr, "word_count: %s\n", hf_status_message(status));
        exit(EXIT_FAILURE);
    }
    return status;
}

/* The next word of the file, in lower case; its length, 0 at the end. What does not fit is left out. */
static size_t next_word(FILE *file, char *word, size_t room)
{
    size_t size = 0;
    int c = getc(file);
    while (c != EOF && !isalpha(c))
        c = getc(file);
    for (; c != EOF && isalpha(c); c = getc(file))
        if (size < room)
            word[size++] = (char)tolower(c);
    return size;
}

/*
 * Adds a file's words to *counts, in place: hf_map_with_take consumes the map it is given and puts the new one there.
 * Where somebody else has the map as well, as the history in `main` does, what they see does not change.
 */
static bool count_words(const char *name, hf_map **counts)
{
    FILE *file = fopen(name, "r");
    char word[64];
    size_t size;
    if (file == NULL) {
        perror(name);
        return false;
    }
    while ((size = next_word(file, word, sizeof word)) > 0) {
        /* A view is looked up, or put in, as it is; the map makes itself a copy if the word is new. */
        hf_view view;
        hf_value key = hf_bytes_view(&view, word, size), count = hf_value_int(0);
        check(hf_map_get(*counts, key, &count)); /* leaves the 0 if there is none */
        check(hf_map_with_take(counts, key, hf_value_int(count.i64 + 1)));
    }
    fclose(file);
    return true;
}

/* Settles a word that both maps have: the sum. (Values are plain numbers: there is nothing to count.) */
static int add(void *user, hf_value key, hf_value left, hf_value right, hf_value *made)
{
    *made = hf_value_int(left.i64 + right.i64);
    return HF_CHOOSE_NEW;
}

typedef struct changes {
    size_t new_words, more_often;
} changes;

static int note_change(void *user, hf_value key, const hf_value *before, const hf_value *after)
{
    changes *noted = user;
    if (before == NULL)
        noted->new_words++;
    else
        noted->more_often++;
    return 0; /* go on */
}

/* The most frequent word, by looking at all of them. */
static void print_most_frequent(const hf_map *counts)
{
    hf_map_iter iter;
    hf_value word, count, best_word = {0}, best = hf_value_int(0);
    hf_map_iter_init(&iter, counts);
    while (hf_map_iter_next(&iter, &word, &count)) {
        if (count.i64 > best.i64) {
            best_word = word;
            best = count;
        }
    }
    /* The iterator keeps the map, and so the word, until it is cleared. */
    if (best.i64 > 0)
        printf("most frequent: \"%s\", %" PRId64 " times\n", hf_string_text(best_word), best.i64);
    hf_map_iter_clear(&iter);
}

static void print_memory(hf_map **versions, size_t count)
{
    hf_map_stats all, last;
    check(hf_map_measure((const hf_map *const *)versions, count, &all));
    check(hf_map_measure((const hf_map *const *)&versions[count - 1], 1, &last));
    printf("memory: the last version %zu bytes, all %zu versions together %zu\n", last.bytes, count, all.bytes);
}

int main(int argc, char **argv)
{
    size_t files = argc > 1 ? (size_t)argc - 1 : 0;
    if (files == 0) {
        fprintf(stderr, "usage: word_count FILE...\n");
        return EXIT_FAILURE;
    }
    hf_map **versions = malloc((files + 1) * sizeof *versions); /* [i]: what was known after i files */
    if (versions == NULL)
        check(HF_NOMEM);

    /* One version after another. Each starts as one more count of the one before. */
    check(hf_map_new(&counts_type, &versions[0]));
    for (size_t i = 0; i < files; i++) {
        changes noted = {0};
        versions[i + 1] = hf_map_keep(versions[i]);
        if (!count_words(argv[i + 1], &versions[i + 1]))
            return EXIT_FAILURE;
        check(hf_map_diff(versions[i], versions[i + 1], note_change, &noted));
        printf("%s: %zu new words, %zu old ones again\n", argv[i + 1], noted.new_words, noted.more_often);
    }
    print_most_frequent(versions[files]);
    print_memory(versions, files + 1);

    /* Each file by itself, and then merged: the same counts. Maps are equal if what they hold is. */
    hf_map *merged = hf_map_keep(versions[0]);
    for (size_t i = 0; i < files; i++) {
        hf_map *alone, *sum;
        check(hf_map_new(&counts_type, &alone));
        if (!count_words(argv[i + 1], &alone))
            return EXIT_FAILURE;
        check(hf_map_merge(merged, alone, add, NULL, &sum));
        hf_map_drop(merged);
        hf_map_drop(alone);
        merged = sum;
    }
    bool agree = check(hf_map_equal(merged, versions[files])) == 1;
    printf("counted apart and merged: %zu words, %s\n", hf_map_size(merged), agree ? "the same" : "NOT the same");

    hf_map_drop(merged);
    for (size_t i = 0; i <= files; i++)
        hf_map_drop(versions[i]);
    free(versions);
    return agree ? EXIT_SUCCESS : EXIT_FAILURE;
}
