"""Chapter 2, SharedMap: four processes index the standard library into one map; one is killed while it writes.

    identifier         -> how often it stands in all files together
    (FILE, file)       -> how many identifiers were counted there; a text, where it cannot be read
    (SHARE, number)    -> which process does this share of the files, then DONE; a share without this is free
    (COUNTED, number)  -> how many files this process has counted

A file is one transaction: its identifiers and the note that it is counted are there together, or not at all. So
whoever goes on with a share needs to know nothing of the process that had it: what is counted stands in the map.

Every result is checked against plain dicts in this one process. The functions before run() are all that the index
takes; the rest is killing, showing, measuring and checking.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from .. import MISSING, Change, CorruptError, SharedMap, SharedSnapshot, list_shared
from ._chapter import Summary, Tour, compared, counted, timed
from ._source import Skipped, Source, read
from ._terminal import bytes_text, seconds_text

PROCESSES = 4
VICTIM = 0
FILE, SHARE, COUNTED, DONE = "file", "share", "counted", "done"
PATIENCE = 60  # seconds without any change of the map: then something is wrong

Index = SharedMap[Any, Any]
Version = SharedSnapshot[Any, Any]
Totals = dict[str, int]
Shares = Sequence[Sequence[str]]


def add_file(index: Index, number: int, item: Source | Skipped, names: Iterable[tuple[str, int]]) -> None:
    """Count a file, in one step for all processes."""
    with index.transaction():
        total = 0
        for name, count in names:
            index.incr(name, count)
            total += count
        index[FILE, item.file] = item.reason if isinstance(item, Skipped) else total
        index.incr((COUNTED, number))


def do_share(
    index: Index, number: int, root: str, shares: Shares, share: int, victim: "Victim | None" = None
) -> None:
    for file in shares[share]:
        if (FILE, file) not in index:
            item = read(root, file)
            names = [] if isinstance(item, Skipped) else item.counts.items()
            add_file(index, number, item, names if victim is None else victim.halfway(file, names))
        leave_if_alone()
    index[SHARE, share] = DONE


def work(name: str, number: int, root: str, shares: Shares, victim: "Victim | None" = None) -> None:
    """A process: does its own share, then any that is free, until all are done."""
    with SharedMap[Any, Any](name, create=False) as index:
        do_share(index, number, root, shares, number, victim)
        while any(index.get((SHARE, share)) != DONE for share in range(len(shares))):
            for share in range(len(shares)):
                if index.compare_and_set((SHARE, share), MISSING, number):
                    do_share(index, number, root, shares, share)
            leave_if_alone()
            time.sleep(0.005)


def files_counted(index: Index | Version) -> int:
    return sum(index.get((COUNTED, number), 0) for number in range(PROCESSES))


def leave_if_alone() -> None:
    """A process of a tour that was killed goes, too."""
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)


# -- what happens to the processes ---------------------------------------------------------------------------------


class Victim(NamedTuple):
    """Stops in the middle of writing, says where, and waits for what comes."""

    file: str
    pipe: "Connection[Any, Any]"

    def halfway(self, file: str, names: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        items = list(names)
        for i, item in enumerate(items):
            if file == self.file and i == len(items) // 2:
                self.wait(i)
            yield item
        if file == self.file and not items:
            self.wait(0)

    def wait(self, written: int) -> None:
        self.pipe.send(written)
        while True:
            leave_if_alone()
            time.sleep(0.02)


class Crew:
    """The processes. Whatever happens, they are gone when the `with` ends."""

    def __init__(self, name: str, root: str, shares: Shares, victim: Victim) -> None:
        # With fork, a test can put a fault into what the processes do.
        context = multiprocessing.get_context("fork")
        self.processes: list[BaseProcess] = [
            context.Process(
                target=work,
                args=(name, number, root, shares, victim if number == VICTIM else None),
                name=f"process {number + 1}",
                daemon=True,
            )
            for number in range(len(shares))
        ]

    def __enter__(self) -> "Crew":
        # Ctrl-C is for this process, which ends the others: they are born with it blocked.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            try:
                for process in self.processes:
                    process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        for process in self.processes:
            if process.pid is not None:
                process.kill()
                process.join()

    def look(self, shot: bool) -> None:
        """That nobody has ended in another way than was meant."""
        for number, process in enumerate(self.processes):
            if process.exitcode is not None and (not shot if number == VICTIM else process.exitcode != 0):
                raise ChildProcessError(f"{process.name} has ended with {process.exitcode}")


def remove(index: Index) -> None:
    index.unlink()


def take_version(index: Index) -> Version:
    return index.snapshot()


def changes(old: Version, new: Version) -> list[Change[Any, Any]]:
    return old.diff(new)


def shoot(process: BaseProcess) -> None:
    process.kill()


# -- the chapter ---------------------------------------------------------------------------------------------------


class Death(NamedTuple):
    file: str
    written: int  # identifiers in the transaction that was not to be
    version: Version  # taken when they were
    status: int | None
    writers_died: int  # as the map tells
    seconds: float  # from the kill to the end of the next change of the map


def run(tour: Tour) -> Summary:
    given = tour.input()
    summary = Summary("SharedMap, next to a dict", ("", "SharedMap", "dict", "dict / SharedMap"))
    if not given.sources:
        return summary
    tour.terminal.heading(f"The same in a SharedMap, by {PROCESSES} processes, one of which is killed")
    tour.terminal.say(
        "Each process takes a share of the files, reads them, and adds each to one index in shared memory, in a"
        " transaction. One is killed (SIGKILL) in the middle of writing; another does the rest of its share."
    )
    files = sorted([*(item.file for item in given.sources), *(skip.file for skip in given.skipped)])
    shares = [files[number::PROCESSES] for number in range(PROCESSES)]
    with contextlib.ExitStack() as stack:
        # A map stays when its processes have gone, until it is unlinked. This one does not outlive the chapter.
        index: Index = stack.enter_context(SharedMap(f"holdfast-tour-{os.getpid()}", create=True, timeout=60))
        stack.callback(remove, index)
        victim_file = file_to_die_in(shares[VICTIM], given.sources)
        seconds, versions, death = let_them_work(tour, index, shares, victim_file, stack)
        tell_of_the_death(tour, summary, index, death, shares)
        check_totals(tour, summary, index, seconds, files)
        check_versions(tour, summary, index, versions, given.sources)
        measure(tour, summary, index, given.sources)
    name = f"holdfast-tour-{os.getpid()}"
    tour.checks.that(
        "nothing is left of it: no process, no name in /dev/shm",
        not multiprocessing.active_children() and all(info.name != name for info in list_shared()),
    )
    return summary


def file_to_die_in(share: Sequence[str], sources: Iterable[Source]) -> str:
    """Of the second quarter of the share, the file with the most names."""
    names = {source.file: len(source.counts) for source in sources}
    candidates = share[len(share) // 4 : len(share) // 2] or share
    return max(candidates, key=lambda file: names.get(file, 0))


def let_them_work(
    tour: Tour, index: Index, shares: Shares, victim_file: str, stack: contextlib.ExitStack
) -> tuple[float, list[Version], Death]:
    """The seconds that it took, snapshots that were taken meanwhile, and how the victim died."""
    total = sum(map(len, shares))
    for number in range(PROCESSES):
        index[SHARE, number] = number
    versions: list[Version] = []
    death: Death | None = None
    shown = 0
    ours, theirs = multiprocessing.Pipe()
    victim = Victim(victim_file, theirs)
    start = changed = time.perf_counter()
    with (
        ours, theirs, tour.terminal.progress("indexing", total) as bar,
        Crew(index.name, str(tour.root), shares, victim) as crew,
    ):  # fmt: skip
        while death is None or any(process.is_alive() for process in crew.processes):
            if death is None and ours.poll(0.01):
                version = stack.enter_context(take_version(index))
                versions.append(version)
                death = kill(index, crew.processes[VICTIM], victim_file, ours.recv(), version)
            crew.look(shot=death is not None)
            done = files_counted(index)
            if done != shown:
                bar.step(done - shown)
                shown, changed = done, time.perf_counter()
            elif time.perf_counter() - changed > PATIENCE:
                raise TimeoutError(f"nobody has counted a file for {PATIENCE} seconds")
            if len(versions) < 8 * done / total:
                versions.append(stack.enter_context(take_version(index)))
            time.sleep(0.01)
        bar.step(files_counted(index) - shown)
    seconds = time.perf_counter() - start
    versions.append(stack.enter_context(take_version(index)))
    return seconds, versions, death


def kill(index: Index, process: BaseProcess, file: str, written: int, version: Version) -> Death:
    start = time.perf_counter()
    shoot(process)
    process.join()
    # Free for others. The turn to write was the dead one's: found out here, or by a process that waits for it.
    index.delete((SHARE, VICTIM))
    seconds = time.perf_counter() - start
    return Death(file, written, version, process.exitcode, index.stats().writers_died, seconds)


def tell_of_the_death(tour: Tour, summary: Summary, index: Index, death: Death, shares: Shares) -> None:
    by = [index.get((COUNTED, number), 0) for number in range(PROCESSES)]
    for number, count in enumerate(by):
        more = count - len(shares[number])
        if number == VICTIM:
            what = f"killed in {death.file}"
        else:
            what = f"{more:,} of them from the share of process {VICTIM + 1}" if more else ""
        tour.terminal.line(f"process {number + 1}: {counted(count, 'file'):>11}  {what}".rstrip())
    tour.terminal.line(f"{seconds_text(death.seconds)} after the kill the next change was made")
    files = files_in(death.version)
    tour.checks.that(
        f"nobody saw the {counted(death.written, 'name')} that it had written of its last file",
        death.file not in files
        and totals_in(death.version) == totals_of(s for s in tour.input().sources if s.file in files),
    )
    tour.checks.that(
        "it died of SIGKILL, and the map has found one writer dead",
        (death.status, death.writers_died) == (-signal.SIGKILL, 1),
    )
    tour.checks.that(
        "it had counted what it says, the others the rest, and no file twice",
        by[VICTIM] == shares[VICTIM].index(death.file) and sum(by) == sum(map(len, shares)),
    )
    summary.figures |= {
        "files_by_process": by,
        "killed_in": death.file,
        "written_in_vain": death.written,
        "went_on_after_seconds": death.seconds,
    }


def check_totals(tour: Tour, summary: Summary, index: Index, seconds: float, files: Sequence[str]) -> None:
    start = time.perf_counter()
    expected = totals_of(tour.input().sources)
    dict_seconds = time.perf_counter() - start + tour.input().seconds
    stats = index.stats()
    found = totals_in(index)
    names, times, size = counted(len(found), "name"), sum(found.values()), bytes_text(stats.used)
    tour.terminal.line(f"{names}, {times:,} times; {size}, once for all processes")
    tour.checks.that(
        "all totals are those of a dict in one process",
        found == expected and all(index.get(name) == count for name, count in expected.items()),
    )
    tour.checks.that("each file is noted, and nothing else", files_in(index) == set(files))
    tour.checks.that("the map finds no fault in itself (check)", is_sound(index))
    label = f"read and index, {PROCESSES} processes and 1"
    summary.rows.append((label, *compared(seconds_text, seconds, dict_seconds)))
    summary.figures |= {
        "names": len(found), "bytes": stats.used, "seconds": seconds, "dict_seconds": dict_seconds,
    }  # fmt: skip


def check_versions(
    tour: Tour, summary: Summary, index: Index, versions: Sequence[Version], sources: Sequence[Source]
) -> None:
    """Each version against the totals of the files that it says it has; and what changed from one to the next."""
    terminal = tour.terminal
    terminal.heading("Versions that were kept while the others wrote")
    terminal.say("snapshot() takes no copy, waits for nobody, and nobody waits for it. It stays as it is.")
    by_file = {source.file: source for source in sources}
    seen: set[str] = set()
    totals: Totals = {}
    exact = differ = True
    for old, new in zip([None, *versions], versions, strict=False):
        more = files_in(new) - seen
        seen |= more
        added = totals_of(by_file[file] for file in more if file in by_file)
        for name, count in added.items():
            totals[name] = totals.get(name, 0) + count
        exact = exact and totals_in(new) == totals and seen == files_in(new)
        if old is not None:
            found = changes(old, new)
            names = {c.key: c.new for c in found if isinstance(c.key, str)}
            differ = differ and names == {name: totals[name] for name in added}
            notes = [c for c in found if isinstance(c.key, tuple) and c.key[0] == FILE]
            differ = differ and {c.key[1] for c in notes} == more and all(c.old is MISSING for c in notes)
    files = ", ".join(f"{files_counted(version):,}" for version in versions)
    terminal.item(f"{counted(len(versions), 'version')} kept, of {files} files")
    tour.checks.that("each is exactly the totals of the files that it says it has, none of them half", exact)
    tour.checks.that("from each to the next, diff() finds what counting the files between them finds", differ)
    summary.figures["versions"] = [files_counted(version) for version in versions]


def measure(tour: Tour, summary: Summary, index: Index, sources: Sequence[Source]) -> None:
    """What a map's users do most, beside the same with a dict of this process."""
    names = [name for name in index if isinstance(name, str)]
    was = index.copy()
    now = dict(was)
    source = max(sources, key=lambda source: len(source.counts))
    with take_version(index) as old:
        add_file(index, VICTIM, source, source.counts.items())
        with take_version(index) as new:
            for name, count in source.counts.items():
                now[name] += count
            diff_seconds, found = timed(changed_names, old, new)
            dict_diff_seconds, expected = timed(lambda: {name for name in names if now[name] != was[name]})
            read_seconds, values = timed(lambda: [new[name] for name in names])
            dict_read_seconds, dict_values = timed(lambda: [now[name] for name in names])
    version_seconds, _ = timed(lambda: take_version(index).close())
    copy_seconds, _ = timed(was.copy)
    same = found == expected and values == dict_values
    tour.checks.that("one more file makes the same difference to both", same)
    summary.rows += [
        ("every name looked up, in a snapshot", *compared(seconds_text, read_seconds, dict_read_seconds)),
        ("a version that stays (dict: copy)", *compared(seconds_text, version_seconds, copy_seconds)),
        ("what one more file changed", *compared(seconds_text, diff_seconds, dict_diff_seconds)),
    ]
    summary.figures |= {
        "look_up_seconds": read_seconds, "dict_look_up_seconds": dict_read_seconds,
        "snapshot_seconds": version_seconds, "dict_copy_seconds": copy_seconds,
        "diff_seconds": diff_seconds, "dict_diff_seconds": dict_diff_seconds,
    }  # fmt: skip


def changed_names(old: Version, new: Version) -> set[str]:
    return {change.key for change in changes(old, new) if isinstance(change.key, str)}


def totals_of(sources: Iterable[Source]) -> Totals:
    """The oracle: nothing but a dict."""
    totals: Totals = {}
    for source in sources:
        for name, count in source.counts.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def totals_in(index: Index | Version) -> Totals:
    return {key: value for key, value in index.items() if isinstance(key, str)}


def files_in(index: Index | Version) -> set[str]:
    return {key[1] for key in index if isinstance(key, tuple) and key[0] == FILE}


def is_sound(index: Index) -> bool:
    try:
        index.check()
    except CorruptError:
        return False
    return True
