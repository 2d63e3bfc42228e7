"""The index again with nothing but dicts, the plain way: what the tour's results are checked against.

Nothing here uses holdfast or looks at its results.
"""

import sys
from collections.abc import Iterable

from ._source import Source

Index = dict[str, dict[str, int]]  # identifier -> file -> count
Pair = tuple[dict[str, int] | None, dict[str, int] | None]


def copy_with(names: Index, sources: Iterable[Source]) -> Index:
    """How one makes a version without a Map: copy the dict, edit the copy.

    What is not edited is shared here, too: only the outer dict and the inner dicts of the names in
    these sources are copied.
    """
    new = dict(names)
    copied = set()
    for source in sources:
        for name, count in source.counts.items():
            if name not in copied:
                copied.add(name)
                new[name] = dict(new.get(name, ()))
            new[name][source.file] = count
    return new


def size_of_copy(names: Index, source: Source) -> int:
    """The bytes of the dicts that copy_with(..., [source]) made; keys and counts, which are shared, aside."""
    return sys.getsizeof(names) + sum(sys.getsizeof(names[name]) for name in source.counts)


def take_out(names: Index, source: Source) -> None:
    """Undo the last copy_with(..., [source]), in place."""
    for name in source.counts:
        files = names[name]
        del files[source.file]
        if not files:
            del names[name]


def diff(old: Index, new: Index) -> dict[str, Pair]:
    """identifier -> (before, after), None for absent; looks at every identifier of both."""
    changes: dict[str, Pair] = {}
    for name, after in new.items():
        before = old.get(name)
        if before is not after and before != after:
            changes[name] = before, after
    for name in old.keys() - new.keys():
        changes[name] = old[name], None
    return changes


def merge(base: Index, mine: Index, theirs: Index) -> tuple[Index, set[str]]:
    """Both sides' additions; and the identifiers that both changed, each in its own way.

    Neither side has taken out anything that base has.
    """
    merged, conflicts = dict(mine), set()
    for name, right in theirs.items():
        before, left = base.get(name), mine.get(name)
        if right is before or right == before:
            continue
        if left is None or left is before or left == before:
            merged[name] = right
        elif left != right:
            conflicts.add(name)
            merged[name] = {**left, **right}
    return merged, conflicts
