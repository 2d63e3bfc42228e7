"""Processes hammer one SharedMap while one of them is killed now and then; in the end, all of it must be right.

    ("steps", worker)   how many steps this worker has done
    (worker, n)         what these have left of it
    "together"          what all have counted

A step is one transaction: the number of the step, and what that step does (set, delete, count). So wherever a worker
is killed, its number says exactly what must be there: the same steps, done again with a dict, must give the same.

    python examples/stress.py [SECONDS]
"""

import itertools
import multiprocessing
import os
import random
import sys
import time

from holdfast import SharedMap

WORKERS, KEYS = 4, 100


def step(mapping, worker, n):
    """Step n of a worker, on anything that is a mapping."""
    key = worker, n * 7919 % KEYS
    if n % 3 == 0:
        mapping.pop(key, None)
    else:
        mapping[key] = "x" * (n * 31 % 3000)
    if n % 10 == 0:
        mapping[worker, "list"] = [n, *mapping.get((worker, "list"), [])[:9]]


def work(shared, worker):
    parent, n = multiprocessing.parent_process(), 0
    while n % 100 or parent.is_alive():  # which may be interrupted before it knows that it has started us
        with shared.transaction():
            n = shared.incr(("steps", worker))
            step(shared, worker, n)
            shared.incr("together")


def start(shared, worker):
    process = multiprocessing.Process(target=work, args=(shared, worker), daemon=True)
    process.start()
    return process


def verify(shared):
    """The number of steps; AssertionError if anything is not as it should be."""
    with shared.snapshot() as found:  # the others go on meanwhile
        expected = {}
        for worker in range(WORKERS):
            steps = found.get(("steps", worker), 0)
            for n in range(1, steps + 1):
                step(expected, worker, n)
            expected["steps", worker] = steps
        total = sum(expected["steps", worker] for worker in range(WORKERS))
        expected["together"] = total
        assert found == expected
        return total


def main(seconds):
    with SharedMap(f"stress-{os.getpid()}", create=True) as shared:
        workers = []
        try:
            shared.update({("steps", worker): 0 for worker in range(WORKERS)}, together=0)
            for worker in range(WORKERS):
                workers.append(start(shared, worker))
            end = time.monotonic() + seconds
            for kills in itertools.count():
                if time.monotonic() > end:
                    break
                time.sleep(random.uniform(0.02, 0.1))
                victim = random.randrange(WORKERS)
                workers[victim].kill()
                workers[victim].join()
                workers[victim] = start(shared, victim)
            verify(shared)
            for worker in workers:
                worker.kill()
                worker.join()
            total = verify(shared)
            shared.check()
            stats = shared.stats()
            print(f"{total:,} steps, {kills} kills, {stats.writers_died} of them within a step: all is right")
            print(f"{stats.size:,} bytes of shared memory, {stats.used:,} in use")
        finally:
            for worker in workers:
                worker.kill()
            shared.unlink()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3)
