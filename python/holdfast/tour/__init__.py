"""`python -m holdfast tour`: holdfast at work on real input, every result checked against plain dicts.

A chapter is a function from a Tour to a Summary (see _chapter.py), listed in CHAPTERS below.
"""

import argparse
import contextlib
import json
import platform
import signal
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Iterator

from .. import __version__
from . import chapter_cask, chapter_map, chapter_shared
from ._chapter import Checks, Summary, Tour
from ._terminal import Terminal

CHAPTERS = {"map": chapter_map.run, "shared": chapter_shared.run, "cask": chapter_cask.run}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "tour",
        help="show what holdfast does, on the source of the standard library",
        description="Index every identifier of the standard library's source, keep every version, undo, "
        "diff and merge; then do it in four processes with one shared map, and kill one; then in a log on disk, "
        "which is merged, killed and opened again. Check each result against plain dicts. Exit status 1 if a check "
        "fails.",
    )
    parser.add_argument("--files", type=positive, metavar="N", help="read only the first N files")
    parser.add_argument("--quiet", action="store_true", help="write nothing but checks that fail")
    parser.add_argument(
        "--json", action="store_true", help="write the figures to stdout as JSON, all else to stderr"
    )
    parser.set_defaults(run=run)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(args: argparse.Namespace) -> int:
    terminal = Terminal(sys.stderr if args.json else sys.stdout, quiet=args.quiet)
    checks = Checks(terminal)
    tour = Tour(terminal, checks, root=sysconfig.get_path("stdlib"), limit=args.files)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    terminal.heading(f"A tour of holdfast {__version__} under {python}")
    start = time.perf_counter()
    with ends_in_order():
        summaries = tell(tour)
    seconds = time.perf_counter() - start
    for summary in summaries.values():
        terminal.heading(summary.title)
        terminal.table(summary.columns, summary.rows)
    conclude(terminal, checks, seconds)
    if args.json:
        print(json.dumps(report(summaries, checks, python, seconds), indent=2))
    return 1 if checks.failed else 0


@contextlib.contextmanager
def ends_in_order() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the program as Ctrl-C does, so that no chapter leaves anything behind."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(tour: Tour) -> dict[str, Summary]:
    """Each chapter in turn. One that breaks off has failed, and the others follow all the same."""
    summaries = {}
    for name, chapter in CHAPTERS.items():
        try:
            summaries[name] = chapter(tour)
        except BrokenPipeError:
            raise
        except Exception:
            traceback.print_exc()
            tour.checks.that(f"the chapter {name!r} comes to its end", False)
    return summaries


def conclude(terminal: Terminal, checks: Checks, seconds: float) -> None:
    terminal.gap()
    if checks.failed:
        terminal.fail(f"FAILED  {len(checks.failed)} of {len(checks.results)} checks")
    else:
        terminal.line(f"All {len(checks.results)} checks passed, {seconds:.1f} s.")


def report(summaries: dict[str, Summary], checks: Checks, python: str, seconds: float) -> dict[str, object]:
    return {
        "holdfast": __version__,
        "python": python,
        "seconds": seconds,
        "chapters": {name: summary.figures for name, summary in summaries.items()},
        "checks": [{"claim": claim, "ok": holds} for claim, holds in checks.results],
        "ok": not checks.failed,
    }
