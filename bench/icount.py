#!/usr/bin/env python3
"""Instructions of one operation, counted by valgrind's callgrind: the same on a busy machine as on a quiet one.

    bench/icount.py --setup 'from holdfast import Map; m = Map.fromkeys(range(1000, 2000), 0)' 'm[1500]'
    bench/icount.py --setup 'd = dict.fromkeys(range(1000, 2000), 0)' 'd[1500]'
    bench/icount.py --command 'build/bench/c/map_bench update-take {n}' --loops 20 --ops 1000

Two runs that differ in the number of repetitions only are subtracted: start, set-up and end cancel. A
Python statement sees the names of its set-up as local variables; the same loop around `pass` is taken off too
(--with-loop: is not). --top N shows in which functions the instructions are.

It counts instructions, not cache misses: what waits for memory looks cheaper here than it is.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from textwrap import indent

HOT = """
def hot(reps):
{setup}
    for _ in reps:
{statement}

hot(range({n}))
"""
ANNOTATED = re.compile(r"^\s*([\d,]+)\s(?:\([^)]*\))?\s*(\S.*)$")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("statement", nargs="?", help="Python, the operation")
    parser.add_argument("--setup", default="pass", help="Python, run once before the loop")
    parser.add_argument("--command", help="a program instead; {n} in it is the number of repetitions")
    parser.add_argument("--loops", type=int, default=2_000, help="repetitions that are counted")
    parser.add_argument("--ops", type=int, default=1, help="operations that one repetition does")
    parser.add_argument("--with-loop", action="store_true", help="leave the loop's own instructions in")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="the N functions with the most of them")
    options = parser.parse_args()
    if bool(options.statement) == bool(options.command):
        parser.error("either a statement or --command")
    if options.command and "{n}" not in options.command:
        parser.error("--command needs {n}")
    return options


def counted(command: list[str]) -> Counter[str]:
    """Instructions by function, under "" all of them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        run = subprocess.run(valgrind, capture_output=True, text=True, env=environment)
        if run.returncode != 0:
            sys.exit(f"icount: {shlex.join(command)} failed:\n{run.stderr[-2000:]}")
        total = re.search(r"^(?:summary|totals): (\d+)", out.read_text(errors="replace"), re.MULTILINE)
        if total is None:
            sys.exit("icount: no total in what callgrind wrote")
        annotate = ["callgrind_annotate", "--threshold=100", "--auto=no", str(out)]
        text = subprocess.run(annotate, capture_output=True, text=True, check=True).stdout
    functions: Counter[str] = Counter({"": int(total[1])})
    for line in text.splitlines():
        match = ANNOTATED.match(line)
        if match and ":" in match[2]:
            name = match[2].partition(":")[2].split(" [")[0]
            functions[name.split("'")[0]] += int(match[1].replace(",", ""))
    return functions


def difference(options: argparse.Namespace, statement: str | None) -> Counter[str]:
    """What options.loops more repetitions cost."""
    few, many = options.loops // 10 + 8, options.loops // 10 + 8 + options.loops
    found = []
    for n in (few, many):
        if statement is None:
            command = shlex.split(options.command.format(n=n))
        else:
            text = HOT.format(setup=indent(options.setup, " " * 4), statement=indent(statement, " " * 8), n=n)
            command = [sys.executable, "-c", text]
        found.append(counted(command))
    found[1].subtract(found[0])
    return found[1]


def main() -> int:
    options = arguments()
    if not shutil.which("valgrind"):
        sys.exit("icount: valgrind is not installed (Debian: apt install valgrind)")
    costs = difference(options, options.statement)
    if options.statement and not options.with_loop:
        costs.subtract(difference(options, "pass"))
    operations = options.loops * options.ops
    print(f"{costs.pop('') / operations:,.1f} instructions an operation")
    for name, count in costs.most_common(options.top):
        print(f"{count / operations:10,.1f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
