"""Chapter 3, Cask: every version of every file goes into a log on disk, which is merged, killed and opened again.

    file       -> {identifier: how often it stands there}, of the file as it is in one of its versions
    BATCHES    -> how many batches there are in the cask

A file is indexed VERSIONS times: as if it had been written piece by piece, and once more each time. A fifth of the files
is deleted on the way, and half of those come back. So most of what is ever written is overwritten or deleted in the end, and a log
has that on its disk until it is merged.

A process writes, in batches, each whole or not there at all; it merges meanwhile. The program looks on, with a cask that only
reads; it keeps snapshots, and kills the writer at a moment that nobody has chosen. Then it opens the cask itself, and
writes what is left.

What the cask has is what a dict would have after as many batches: that is checked of each snapshot, and at every turn.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from .. import Cask, CaskSnapshot, CorruptError
from ._chapter import Summary, Tour, compared, counted, timed
from ._source import Source
from ._terminal import bytes_text, seconds_text
from .chapter_shared import leave_if_alone

VERSIONS = 4
BATCH = 20  # files
BATCHES = "batches"
FILE_SIZE = 72  # bytes of a log file, for each file there is: small, so that there are many to merge
KILLED_AT = 0.7  # of the batches: the writer is told nothing of it
PATIENCE = 60  # seconds without anything written: then something is wrong

Log = Cask[str, Any]
Version = CaskSnapshot[str, Any]
Batch = dict[str, dict[str, int] | None]  # None: the file is deleted
Index = dict[str, dict[str, int]]


def write_batch(cask: Log, number: int, batch: Batch) -> None:
    """All of it is there, with its number, or nothing."""
    with cask.batch() as together:
        for file, counts in batch.items():
            if counts is None:
                together.delete(file)
            else:
                together[file] = counts
        together[BATCHES] = number


def write(path: str, batches: Sequence[Batch], pipe: "Connection[Any, Any]") -> None:
    """The process that writes: says of each batch that it is there, once it is. Merges at a third and at two thirds."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
    with open_to_write(path, batches) as cask:
        for number, batch in enumerate(batches, start=1):
            write_batch(cask, number, batch)
            pipe.send(number)
            if number in (len(batches) // 3, 2 * len(batches) // 3):
                cask.merge()
            leave_if_alone()
        pipe.recv()  # it does not end by itself


def open_to_write(path: str, batches: Sequence[Batch]) -> Log:
    """Merged when the chapter says so, that it can be seen."""
    files = len({file for batch in batches for file in batch})
    return Cask(path, max_file_size=max(FILE_SIZE * files, 4096), auto_merge=False)


# -- what there is to write, and what there should be ------------------------------------------------------------


def history(sources: Sequence[Source]) -> list[Batch]:
    changes: list[tuple[str, dict[str, int] | None]] = []
    for version in range(1, VERSIONS + 1):
        for i, source in enumerate(sources):
            if i % 5 == 0 and version > VERSIONS // 2:
                if version == VERSIONS // 2 + 1:
                    changes.append((source.file, None))
                    continue
                if i % 10 == 0:
                    continue
            names = list(source.counts.items())
            changes.append((source.file, dict(names[: len(names) * version // VERSIONS])))
    # A batch has a file once: they come in the same order in each version, and there are more of them than a batch has.
    return [dict(changes[at : at + BATCH]) for at in range(0, len(changes), BATCH)]


class Oracle:
    """Nothing but dicts: what there is after so many batches. Asked in ascending order it does each batch once."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._at = 0
        self._now: Index = {}

    def after(self, number: int) -> Index:
        if number < self._at:
            self._at, self._now = 0, {}
        for batch in self._batches[self._at : number]:
            for file, counts in batch.items():
                if counts is None:
                    self._now.pop(file, None)
                else:
                    self._now[file] = counts
        self._at = number
        return self._now


def is_right(cask: Log | Version, oracle: Oracle) -> bool:
    """Is it what a dict would be after as many batches as it says?"""
    found = cask.copy()
    number = found.pop(BATCHES, 0)
    return bool(found == oracle.after(number))


def take_version(cask: Log) -> Version:
    return cask.snapshot()


def shoot(process: BaseProcess) -> None:
    process.kill()


def forget_index(path: str) -> None:
    """What can be made again from the log: the keydir and the hints."""
    for name in os.listdir(path):
        if name.startswith("keydir") or name.endswith(".hint"):
            os.unlink(os.path.join(path, name))


# -- the chapter ---------------------------------------------------------------------------------------------------


def run(tour: Tour) -> Summary:
    given = tour.input()
    summary = Summary("Cask, next to a dict that is pickled into a file", ("", "Cask", "pickled", "pickled / Cask"))
    if not given.sources:
        return summary
    tour.terminal.heading("A log on disk: every version of every file, merged, killed and opened again")
    tour.terminal.say(
        f"Each file is put {VERSIONS} times into a Cask, as if it had been written piece by piece; some are deleted, and"
        " some of those come back. One process writes and merges; this one reads, and kills it (SIGKILL)."
    )
    batches = history(given.sources)
    oracle = Oracle(batches)
    with tempfile.TemporaryDirectory(prefix="holdfast-tour-") as folder:
        path = os.path.join(folder, "cask")
        with contextlib.ExitStack() as stack:
            watch(tour, summary, path, batches, oracle, stack)
            go_on(tour, summary, path, batches, oracle)
        merge(tour, summary, path, batches, oracle)
        open_again(tour, summary, path, batches, oracle)
        measure(tour, summary, path, given.sources, oracle.after(len(batches)))
    left = os.path.exists(folder) or bool(multiprocessing.active_children())
    tour.checks.that("nothing is left of it: no process, no folder", not left)
    return summary


class Writer:
    """The process. Whatever happens, it is gone when the `with` ends."""

    def __init__(self, path: str, batches: Sequence[Batch]) -> None:
        self.pipe, self.theirs = multiprocessing.Pipe()
        # With fork, a test can put a fault into what the process does.
        self.process = multiprocessing.get_context("fork").Process(
            target=write, args=(path, batches, self.theirs), name="the writer", daemon=True
        )
        self.said = 0  # batches that it said were there

    def __enter__(self) -> "Writer":
        # Ctrl-C is for this process; and what a signal raises while something is being deleted would be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self.process.start()
            self.theirs.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()
        self.pipe.close()

    def listen(self, seconds: float) -> int:
        """How many batches it has said more of, at most so long."""
        before = self.said
        while self.pipe.poll(seconds if self.said == before else 0):
            self.said = self.pipe.recv()
        if self.said == before and not self.process.is_alive():
            raise ChildProcessError(f"{self.process.name} has ended with {self.process.exitcode}")
        return self.said - before


def watch(
    tour: Tour, summary: Summary, path: str, batches: Sequence[Batch], oracle: Oracle, stack: contextlib.ExitStack
) -> None:
    """Reads while the other one writes, and kills it."""
    versions: list[Version] = []
    heard = time.perf_counter()
    last = max(int(KILLED_AT * len(batches)), 1)
    with Writer(path, batches) as writer, tour.terminal.progress("writing", len(batches)) as bar:
        cask: Log | None = None
        while writer.said < last:
            more = writer.listen(0.01)
            if more > 0:
                bar.step(more)
                heard = time.perf_counter()
                if cask is None:
                    cask = stack.enter_context(Cask(path, mode="r"))
                if len(versions) < 10 * writer.said / len(batches):
                    versions.append(stack.enter_context(take_version(cask)))
            elif time.perf_counter() - heard > PATIENCE:
                raise TimeoutError(f"nothing was written for {PATIENCE} seconds")
        assert cask is not None
        shoot(writer.process)
        writer.process.join()
        status = writer.process.exitcode
        with contextlib.suppress(EOFError):
            while writer.pipe.poll(0):
                writer.said = writer.pipe.recv()
    seen = [version[BATCHES] for version in versions]
    tour.terminal.line(f"snapshots at batches {', '.join(map(str, seen))}; killed after {writer.said:,} of {len(batches):,}")
    tour.checks.that(
        f"each of {counted(len(versions), 'snapshot')}, kept through merges and the kill, is what dicts say",
        all(is_right(version, oracle) for version in versions) and seen == sorted(seen),
    )
    tour.checks.that("the writer died of SIGKILL", status == -signal.SIGKILL)
    found = cask[BATCHES]
    tour.checks.that(
        "whoever reads has all that it said was there, and at most the batch it was at",
        writer.said <= found <= writer.said + 1 and is_right(cask, oracle),
    )
    summary.figures |= {"batches": len(batches), "killed_after": writer.said, "snapshots_at": seen}


def go_on(tour: Tour, summary: Summary, path: str, batches: Sequence[Batch], oracle: Oracle) -> None:
    """Opens what the dead one has left, and writes the rest."""
    start = time.perf_counter()
    with open_to_write(path, batches) as cask:
        seconds = time.perf_counter() - start
        found = cask[BATCHES]
        tour.terminal.line(f"opened to write {seconds_text(seconds)} after that, with {found:,} batches")
        tour.checks.that(
            "so has who opens it to write, and it was found to be left by a crash",
            is_right(cask, oracle) and cask.status().recovered,
        )
        for number, batch in enumerate(batches[found:], start=found + 1):
            write_batch(cask, number, batch)
        tour.checks.that("with the rest written, it is what dicts say", is_right(cask, oracle))
    summary.figures["opened_after_kill_seconds"] = seconds


def merge(tour: Tour, summary: Summary, path: str, batches: Sequence[Batch], oracle: Oracle) -> None:
    """Once more, when nobody has a snapshot: while somebody has, what it needs stays on the disk."""
    with open_to_write(path, batches) as cask:
        before = cask.status()
        merged = cask.merge()
        after = cask.status()
        tour.terminal.line(
            f"merged {counted(merged.files, 'file')}: {bytes_text(before.bytes)} were {bytes_text(after.bytes)} then"
        )
        # Of very few files there is one log file, and nothing to merge.
        less = after.bytes < before.bytes if merged.files > 0 else len(before.files) <= 2
        tour.checks.that(
            "merged once more it takes less, is the same, and nothing deleted is there",
            is_right(cask, oracle) and less,
        )
        tour.checks.that("it finds no fault in itself (check)", is_sound(cask))
    summary.figures |= {
        "bytes_before_merge": before.bytes, "bytes": after.bytes, "merged_files": merged.files,
    }  # fmt: skip


def open_again(tour: Tour, summary: Summary, path: str, batches: Sequence[Batch], oracle: Oracle) -> None:
    """Clean; and without all that can be made again from the log."""
    number = len(batches)
    with Cask[str, Any](path, mode="r") as cask:
        tour.checks.that("closed and opened, it is the same", cask[BATCHES] == number and is_right(cask, oracle))
    forget_index(path)
    start = time.perf_counter()
    with open_to_write(path, batches) as cask:
        seconds = time.perf_counter() - start
        tour.terminal.line(f"opened in {seconds_text(seconds)} without its index, which was made again from the log")
        tour.checks.that(
            "so it is with its index and hints deleted, made again from the log",
            cask[BATCHES] == number and is_right(cask, oracle) and is_sound(cask),
        )
    summary.figures["opened_without_index_seconds"] = seconds


def measure(tour: Tour, summary: Summary, path: str, sources: Sequence[Source], now: Index) -> None:
    """What a cask's users do most, beside the plain way to keep a dict: to pickle it into a file, each time."""
    file = os.path.join(os.path.dirname(path), "pickled")
    source = max(sources, key=lambda source: len(source.counts))
    counts = dict(source.counts)

    def dump() -> None:
        with open(file, "wb") as stream:
            pickle.dump(now, stream, pickle.HIGHEST_PROTOCOL)

    def load() -> Any:
        with open(file, "rb") as stream:
            return pickle.load(stream)

    def reopen() -> None:
        Cask(path).close()

    with Cask[str, Any](path) as cask:
        put_seconds, _ = timed(cask.put, source.file, counts)
        now[source.file] = counts
        read_seconds, values = timed(lambda: [cask[file] for file in now])
        size = cask.status().bytes
    dump_seconds, _ = timed(dump)
    load_seconds, loaded = timed(load)
    open_seconds, _ = timed(reopen)
    get_seconds, expected = timed(lambda: [pickle.loads(one) for one in [pickle.dumps(now[file]) for file in now]])
    tour.checks.that("each file looked up is the same in both", values == expected and loaded == now)
    summary.rows += [
        ("one more version of a file", *compared(seconds_text, put_seconds, dump_seconds)),
        ("opened", *compared(seconds_text, open_seconds, load_seconds)),
        ("every file looked up (pickled: each by itself)", *compared(seconds_text, read_seconds, get_seconds)),
        ("bytes on disk", *compared(bytes_text, size, os.path.getsize(file))),
    ]
    summary.figures |= {
        "put_seconds": put_seconds, "dump_seconds": dump_seconds, "open_seconds": open_seconds,
        "load_seconds": load_seconds, "look_up_seconds": read_seconds,
    }  # fmt: skip


def is_sound(cask: Log) -> bool:
    try:
        cask.check()
    except CorruptError:
        return False
    return True
