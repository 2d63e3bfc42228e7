#!/usr/bin/env python3
"""The benchmarks of holdfast: every row of the goals and a general matrix, side by side with its peers.

See bench/README.md. Exit status: 0; 1 when holdfast gave a wrong result, raised or died; 2 when it
could not be measured. A goal that is not reached is reported and is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import cask, contenders, jobs, machine, native, plot, report, shared, suites
from harness.row import SIZES, Case, Row
from harness.stats import Result
from rows import ROWS

BENCH = Path(__file__).resolve().parent
RESULTS = BENCH / "results"
PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from harness import cask, contenders, shared
print(json.dumps(contenders.installed((cask.BY_NAME | shared.BY_NAME | contenders.BY_NAME)[sys.argv[2]])))
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny sizes, two rounds: does it all work and is it right")
    add("--rows", metavar="TEXT,..", help="only rows whose name contains one of these; matrix: all of that (--list shows them)")
    add("--sizes", metavar="N,..", help=f"only these of {', '.join(map(str, SIZES))}")
    add("--only", metavar="NAME,..", help="only these contenders")
    add("--list", action="store_true", help="list the rows, and stop")
    add("--slow", action="store_true", help="also what takes more than half a minute a turn")
    add("--cpu-time", action="store_true", help="count the processor's time, where others use the machine (not in C, nor of processes together)")
    add("--seed", type=int, default=1, help="decides the order of the keys and the hashes of strings")
    add("--json", metavar="FILE", type=Path, help="where to (a whole run: bench/results/bench.json)")
    add("--no-plot", action="store_true", help="do not draw bench/results/*.png")
    add("--peers-only", action="store_true", help="measure the peers though holdfast cannot be imported")
    add("--c-bench", metavar="FILE", type=Path, default=native.C_PROGRAM, help="the C benchmark")
    for suite in suites.ALL:
        add(f"--{suite.name}-bench", metavar="FILE", type=Path, default=suite.program, help=f"the C benchmark of {suite.name}s")
    add("--install", action="store_true", help="install the peers of bench/requirements.txt, and stop")
    return parser.parse_args()


def install() -> int:
    """Each peer on its own: one that cannot be installed does not keep the others out."""
    wanted = [line.strip() for line in (BENCH / "requirements.txt").read_text().splitlines()]
    for requirement in filter(lambda line: line and not line.startswith("#"), wanted):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        if subprocess.run(pip).returncode != 0:
            print(f"bench: {requirement} cannot be installed; its column will say so", file=sys.stderr)
    return 0


def probe(name: str) -> tuple[str, str | None]:
    """Whether a contender can be imported, asked in a child process: an import may crash too."""
    run = subprocess.run([sys.executable, "-c", PROBE, str(BENCH), name], capture_output=True, text=True)
    if run.returncode != 0:
        return "", f"import ended with exit status {run.returncode}"
    version, trouble = json.loads(run.stdout.splitlines()[-1])
    return version, trouble


def plan(options: argparse.Namespace) -> list[tuple[Row, Case]]:
    sizes = [int(size) for size in options.sizes.replace("_", "").split(",")] if options.sizes else list(SIZES)
    texts = options.rows.split(",") if options.rows else [""]
    return [
        (row, case)
        for row in ROWS
        if any(text.strip() in row.name or (row.in_matrix and text.strip() == "matrix") for text in texts)
        for case in row.cases(sizes, options.quick)
    ]


class Progress:
    """A line for each case, as it is done; time and count in front."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()

    def tell(self, result: Result) -> None:
        self.done += 1
        elapsed = time.monotonic() - self.start
        print(f"[{self.done:3}/{self.total} {elapsed:4.0f} s] {report.line(result)}", flush=True)


def measure(
    options: argparse.Namespace, work: list[tuple[Row, Case]], names: list[str]
) -> tuple[list[Result], dict[str, str]]:
    """(results in the order of the plan, versions of the native programs)."""
    results = {case: Result(row, case) for row, case in work}
    progress = Progress(len(work))
    settings = jobs.Settings(names, options.seed, options.quick, options.slow, options.cpu_time)
    waiting = {case: sum(name in row.contenders for name in names) if row.alone else 1 for row, case in work}

    def done(case: Case, outcomes: jobs.Outcomes) -> None:
        results[case].add(outcomes)
        waiting[case] -= 1
        if waiting[case] == 0:
            progress.tell(results[case])

    for job in jobs.jobs([(row, case) for row, case in work if not row.native], settings):
        jobs.run(job, settings, done)
    versions = {}
    if foreign := [(row, case) for row, case in work if row.native]:
        versions = native.run(foreign, settings, options.c_bench, done)
    return list(results.values()), versions


def save(path: Path, about: dict[str, Any], results: list[Result], found: list[report.Verdict]) -> None:
    goals = [
        {
            "row": verdict.row.name,
            "title": verdict.row.title,
            "goal": verdict.goal_text,
            "figure": verdict.figure_text,
            "reached": verdict.reached_text,
            "misses": verdict.misses(),
        }
        for verdict in found
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    # A result a line: the file is kept in the repository, and its differences are read.
    lines = ",\n  ".join(json.dumps(result.as_json()) for result in results)
    head = json.dumps(about | {"goals": goals}, indent=1)
    path.write_text(f'{head[:-2]},\n "results": [\n  {lines}\n ]\n}}\n')


def draw(results: list[Result], found: list[report.Verdict], about: dict[str, Any]) -> None:
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        print("No plot: matplotlib is not installed.")
        return
    caption = f"{about['machine']['processor']}, {about['machine']['python'].split(' (')[0]}, {about['machine']['date'][:10]}"
    for name, drawn in (
        ("matrix.png", plot.matrix(results, RESULTS / "matrix.png", caption)),
        ("goals.png", plot.goals(found, RESULTS / "goals.png", caption)),
        ("cask.png", plot.sizes(about.get("cask", []), RESULTS / "cask.png", caption)),
    ):
        if drawn:
            print(f"Plot: bench/results/{name}")


def main() -> int:
    options = arguments()
    if options.install:
        return install()
    work = plan(options)
    if options.list:
        for row in dict.fromkeys(row for row, _ in work):
            print(f"{'goals' if row.goals else '':6} {'matrix' if row.in_matrix else '':7}{row.name}")
        for title in (title for suite in suites.ALL for title in suite.titles()):
            print(f"goals         {title}")
        return 0
    wanted = options.only.split(",") if options.only else list(contenders.BY_NAME | shared.BY_NAME | cask.BY_NAME)
    probed = {name: probe(name) for name in wanted}
    absent = {name: trouble for name, (_, trouble) in probed.items() if trouble}
    for name, trouble in absent.items():
        print(f"{name}: {trouble}")
    if "holdfast" in absent and not options.peers_only:
        print("holdfast cannot be imported: `make build` first, or --peers-only.", file=sys.stderr)
        return 2
    about: dict[str, Any] = {"machine": machine.describe(), "seed": options.seed, "quick": options.quick}
    about["clock"] = "processor time" if options.cpu_time else "wall"
    results, native_versions = measure(options, work, [name for name in wanted if name not in absent])
    versions = {name: version for name, (version, _) in probed.items() if version}
    about["versions"] = versions | {f"{name} (C row)": text for name, text in native_versions.items()}
    about["absent"] = absent
    failures = []
    for suite in suites.ALL if not options.peers_only else ():
        groups = suite.named(options.rows.split(",") if options.rows else [""])
        if not groups:
            continue
        print()
        about[suite.name], failure = suite.run(getattr(options, f"{suite.name}_bench"), groups, options.quick)
        if failure:
            print(failure, file=sys.stderr)
            failures.append(failure)
    about["machine"]["load at the end"] = [round(load, 2) for load in os.getloadavg()]

    found = report.verdicts(ROWS, results)
    troubles = report.troubles(results)
    about["troubles"] = troubles
    print("\n" + report.table(found, judged=not options.quick))
    if troubles:
        print("\nWrong, failed or left out:\n" + "\n".join(f"  {text}" for text in troubles))
    whole = not (options.quick or options.rows or options.sizes or options.only or options.peers_only)
    if path := options.json or (RESULTS / "bench.json" if whole else None):
        save(path, about, results, found)
        print(f"\nResults: {os.path.relpath(path)}")
    if whole:
        (RESULTS / "table.md").write_text(report.markdown(found, about))
        if not options.no_plot:
            draw(results, found, about)
    return 1 if failures or any(result.failed("holdfast") for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
