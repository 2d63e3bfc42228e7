"""Chapter 1, Map: an index of every identifier in the standard library that keeps all its versions.

    history[0] = Map()
    history[i] = history[i - 1] with the names of sources[i - 1]        identifier -> Map(file -> count)

Every result is checked against the dicts of _oracle.py. The functions before run() are all that the
index takes; the rest is showing, measuring and checking.
"""

import time
from collections.abc import Iterable, Sequence

from .. import Change, Conflict, Map, MissingType, footprint
from . import _oracle
from ._chapter import Summary, Tour, compared, counted, timed
from ._source import Source
from ._terminal import bytes_text, seconds_text

Files = Map[str, int]  # file -> count
Index = Map[str, Files]  # identifier -> files

NO_FILES: Files = Map()


def add_file(index: Index, source: Source) -> Index:
    with index.mutate() as names:
        for name, count in source.counts.items():
            names[name] = names.get(name, NO_FILES).set(source.file, count)
    return names.finish()


def take_out_file(index: Index, source: Source) -> Index:
    for name in source.counts:
        files = index[name].delete(source.file)
        index = index.set(name, files) if files else index.delete(name)
    return index


def changes(old: Index, new: Index) -> list[Change[str, Files]]:
    return old.diff(new)


def apply(index: Index, difference: Iterable[Change[str, Files]]) -> Index:
    with index.mutate() as names:
        for name, _, new in difference:
            if isinstance(new, MissingType):
                names.pop(name, None)
            else:
                names[name] = new
    return names.finish()


def merge(base: Index, mine: Index, theirs: Index) -> Index:
    return Map.merge3(base, mine, theirs, resolve=both)


def both(name: str, base: Files | MissingType, mine: Files | MissingType, theirs: Files | MissingType) -> Files:
    """Two sides changed the files of one name: merge those in turn. MISSING stands for absent."""
    return Map.merge3(files_of(base), files_of(mine), files_of(theirs))


def files_of(files: Files | MissingType) -> Files:
    return NO_FILES if isinstance(files, MissingType) else files


def run(tour: Tour) -> Summary:
    given = tour.input()
    sources = given.sources
    summary = Summary("Map, next to copies of a dict", ("", "Map", "dict", "dict / Map"))
    summary.figures["files"] = len(sources)
    summary.figures["skipped"] = [skip._asdict() for skip in given.skipped]
    if not sources:
        tour.checks.that(f"there is Python source to read under {tour.root}", False)
        return summary
    history = keep_versions(tour, summary, sources)
    step_back(tour, history, sources)
    compare_versions(tour, summary, history, sources)
    merge_apart(tour, summary, history, sources)
    return summary


def keep_versions(tour: Tour, summary: Summary, sources: Sequence[Source]) -> list[Index]:
    terminal = tour.terminal
    terminal.heading("Index every identifier, and keep every version")
    terminal.say(
        "Each identifier maps to the files it is in. Each file makes a new version of the whole index;"
        " the older versions stay as they were, and share with it whatever the file did not touch."
    )
    history: list[Index] = [Map()]
    start = time.perf_counter()
    with terminal.progress("indexing", len(sources)) as bar:
        for source in sources:
            history.append(add_file(history[-1], source))
            bar.step()
    map_seconds = time.perf_counter() - start

    dict_seconds, dict_bytes, inner = check_against_copies(tour, history, sources)
    # footprint() does not count values, and the inner Maps are values of the outer ones.
    map_bytes = footprint(*history, *inner)

    entries = sum(len(source.counts) for source in sources)
    terminal.line(f"{len(history):,} versions; the newest has {len(history[-1]):,} names, {entries:,} entries")
    terminal.say(
        f"All of them take {bytes_text(map_bytes)}, shared parts counted once (holdfast.footprint). As copies"
        f" of a dict they would take {bytes_text(dict_bytes)} (sys.getsizeof of each copy, which is made,"
        " measured and dropped)."
    )
    summary.rows += [
        (f"memory of {len(history):,} versions", *compared(bytes_text, map_bytes, dict_bytes)),
        ("time to make them (dicts dropped)", *compared(seconds_text, map_seconds, dict_seconds)),
    ]
    summary.figures |= {
        "versions": len(history),
        "names": len(history[-1]),
        "entries": entries,
        "map_bytes": map_bytes,
        "dict_bytes": dict_bytes,
        "map_build_seconds": map_seconds,
        "dict_build_seconds": dict_seconds,
    }
    return history


def check_against_copies(
    tour: Tour, history: Sequence[Index], sources: Sequence[Source]
) -> tuple[float, int, list[Files]]:
    """Make the same versions from dict copies, and compare.

    Returns the seconds and bytes that the copies took, and the inner Maps of all versions.
    """
    names: _oracle.Index = {}
    seconds, size = 0.0, 0
    inner: list[Files] = []
    exact = equal = True
    looked_at = spread(len(sources), 12)
    with tour.terminal.progress("the same with dict copies", len(sources)) as bar:
        for i, source in enumerate(sources, start=1):
            start = time.perf_counter()
            names = _oracle.copy_with(names, [source])
            seconds += time.perf_counter() - start
            size += _oracle.size_of_copy(names, source)
            found = changes(history[i - 1], history[i])
            exact = exact and adds_just(source, found)
            inner += [files_of(change.new) for change in found]
            if i in looked_at:
                equal = equal and plain(history[i]) == names and history[i] == names
            bar.step()
    newest = history[-1]
    tour.checks.that("every version differs from the one before by its own file only", exact)
    tour.checks.that(f"{counted(len(looked_at), 'version')}, compared in full, are as the dict was then", equal)
    tour.checks.that(
        "the newest version gives every count by look-up",
        all(newest.get(name, NO_FILES).get(s.file) == n for s in sources for name, n in s.counts.items()),
    )
    return seconds, size, inner


def adds_just(source: Source, difference: Iterable[Change[str, Files]]) -> bool:
    seen = set()
    for name, old, new in difference:
        files, more = files_of(old), files_of(new)
        if source.file in files or len(more) != len(files) + 1 or more.get(source.file) != source.counts.get(name):
            return False
        seen.add(name)
    return seen == source.counts.keys()


def step_back(tour: Tour, history: Sequence[Index], sources: Sequence[Source]) -> None:
    terminal = tour.terminal
    terminal.heading("Step back through the history")
    terminal.say("Undo is no work: the older version is still there.")
    for back in (1, 10, 100, 1000):
        if back < len(history):
            files = "1 file ago" if back == 1 else f"{back:,} files ago"
            terminal.line(f"{files:>15}: {len(history[-1 - back]):>7,} names")

    names = _oracle.copy_with({}, sources)
    equal = True
    looked_at = spread(len(sources), 7)
    with terminal.progress("stepping back", len(sources)) as bar:
        for i, version in reversed(list(enumerate(history))):
            equal = equal and len(version) == len(names)
            if i in looked_at or i == 0:
                equal = equal and plain(version) == names
            if i > 0:
                _oracle.take_out(names, sources[i - 1])
                bar.step()
    tour.checks.that("all the way back to the empty index, every version is as it was", equal)

    count = min(50, len(sources))
    equal, version = True, history[-1]
    for i in range(len(sources), len(sources) - count, -1):
        version, older = take_out_file(version, sources[i - 1]), history[i - 1]
        equal = equal and version == older and hash(version) == hash(older)
    tour.checks.that(f"taking {counted(count, 'file')} out by hand gives equal versions, of equal hash", equal)


def compare_versions(tour: Tour, summary: Summary, history: Sequence[Index], sources: Sequence[Source]) -> None:
    terminal = tour.terminal
    terminal.heading("What changed between two versions?")
    terminal.say("diff() skips what two versions share, so it costs what changed, not what is stored.")
    last = len(sources)
    figures = []
    for older in sorted({max(last - 1, 0), max(last - 100, 0), 0}, reverse=True):
        old, new = history[older], history[last]
        old_names = _oracle.copy_with({}, sources[:older])
        new_names = _oracle.copy_with(old_names, sources[older:])
        map_seconds, found = timed(changes, old, new)
        dict_seconds, expected = timed(_oracle.diff, old_names, new_names)
        files = counted(last - older, "file")
        terminal.line(f"{files:>12}: {len(found):>7,} names changed, found in {seconds_text(map_seconds)}")
        tour.checks.that(
            f"the diff over {files} is what comparing two dicts finds",
            len(found) == len(expected) and {c.key: (bare(c.old), bare(c.new)) for c in found} == expected,
        )
        tour.checks.that(
            f"the older version with the changes of {files} is the newer; and back",
            apply(old, found) == new and apply(new, changes(new, old)) == old,
        )
        if older == last - 1:
            summary.rows.append(("diff of two neighbours", *compared(seconds_text, map_seconds, dict_seconds)))
        figures.append(
            {
                "files": last - older,
                "changes": len(found),
                "map_seconds": map_seconds,
                "dict_seconds": dict_seconds,
            }
        )
    summary.figures["diffs"] = figures


def merge_apart(tour: Tour, summary: Summary, history: Sequence[Index], sources: Sequence[Source]) -> None:
    tour.terminal.heading("Merge two indexes that were built apart")
    tour.terminal.say(
        "From a common version on, one index takes in every other file, another one the rest. Names"
        " that both sides changed are conflicts, which a function settles one by one."
    )
    starts = sorted({len(sources) // 3, max(len(sources) - 2, 0)})
    summary.figures["merges"] = [merge_from(tour, summary, history, sources, start) for start in starts]


def merge_from(
    tour: Tour, summary: Summary, history: Sequence[Index], sources: Sequence[Source], start: int
) -> dict[str, object]:
    base, odd, even = history[start], sources[start::2], sources[start + 1 :: 2]
    mine = theirs = base
    for source in odd:
        mine = add_file(mine, source)
    for source in even:
        theirs = add_file(theirs, source)
    was = _oracle.copy_with({}, sources[:start])
    left, right = _oracle.copy_with(was, odd), _oracle.copy_with(was, even)
    dict_seconds, (expected, contested) = timed(_oracle.merge, was, left, right)

    conflicts = conflicting(base, mine, theirs)
    map_seconds, merged = timed(merge, base, mine, theirs)
    sides = f"{len(odd):,} + {len(even):,} files"
    tour.terminal.line(f"{sides}: {counted(len(conflicts), 'conflict')}, merged in {seconds_text(map_seconds)}")
    tour.checks.that(
        f"{sides}: the Conflict names just what both sides changed",
        len(conflicts) == len(contested) and set(conflicts) == contested,
    )
    tour.checks.that(f"{sides}: settled, it is what merging dicts gives", plain(merged) == expected)
    tour.checks.that(
        f"{sides}: equal to the index built in one go, and of its hash",
        merged == history[-1] and hash(merged) == hash(history[-1]),
    )
    tour.checks.that(
        f"{sides}: the three that were merged are unchanged",
        plain(base) == was and plain(mine) == left and plain(theirs) == right,
    )
    summary.rows.append((f"merge of {sides}", *compared(seconds_text, map_seconds, dict_seconds)))
    return {
        "files": [len(odd), len(even)],
        "conflicts": len(conflicts),
        "map_seconds": map_seconds,
        "dict_seconds": dict_seconds,
    }


def conflicting(base: Index, mine: Index, theirs: Index) -> Sequence[str]:
    try:
        Map.merge3(base, mine, theirs)
    except Conflict as conflict:
        return conflict.keys
    return ()


def plain(index: Index) -> _oracle.Index:
    return {name: dict(files.items()) for name, files in index.items()}


def bare(files: Files | MissingType) -> dict[str, int] | None:
    return None if isinstance(files, MissingType) else dict(files.items())


def spread(last: int, count: int) -> set[int]:
    """About `count` numbers from 1 to last, at even distances, last among them."""
    return {max(last * i // count, 1) for i in range(1, count + 1)}
