"""A distributed computation: processes take jobs from a SharedMap and give results back; one dies, nothing is lost.

    ("job", start)     "to do", or the number of the worker that does it; it is gone when it is done
    "primes"           the sum of the results

A job is claimed with compare_and_set, so no two workers have it. Its result is added, and the job removed, in one
transaction: it counts once, or it is still to be done. Of a worker that died, its claims are left; whoever sees the
death makes them "to do" again. Here that is the process that started it. The work: how many primes below 1,000,000?

    python examples/distributed.py [WORKERS]
"""

import math
import multiprocessing
import os
import signal
import sys

from holdfast import SharedMap

LIMIT, STEP = 1_000_000, 20_000
TO_DO = "to do"


def count_primes(start, end):
    sieve = bytearray([1]) * (end - start)
    for n in range(2, math.isqrt(end) + 1):
        for multiple in range(max(n * n, -(-start // n) * n), end, n):
            sieve[multiple - start] = 0
    return sum(sieve) - (start == 0) * 2  # neither 0 nor 1 is a prime


def work(jobs, worker, dies):
    """Does jobs until there are none to do."""
    for key in jobs:  # as they were when the loop began; each may be another's by now
        if not isinstance(key, tuple) or not jobs.compare_and_set(key, TO_DO, worker):
            continue
        found = count_primes(key[1], min(key[1] + STEP, LIMIT))
        with jobs.transaction():
            jobs.incr("primes", found)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)  # with the result half given back
            jobs.delete(key)


def start(jobs, worker, dies=False):
    process = multiprocessing.Process(target=work, args=(jobs, worker, dies))
    process.start()
    return process


def jobs_of(jobs, worker):
    return [key for key, who in jobs.items() if isinstance(key, tuple) and who == worker]


def main(workers):
    with SharedMap(f"distributed-{os.getpid()}", create=True) as jobs:
        try:
            jobs.update({("job", n): TO_DO for n in range(0, LIMIT, STEP)})
            running = {worker: start(jobs, worker, dies=worker == 0) for worker in range(workers)}
            while running:
                worker, process = running.popitem()
                process.join()
                lost = jobs_of(jobs, worker)
                if process.exitcode != 0:
                    print(f"worker {worker} ended with {process.exitcode}; to do again: {lost}")
                    for key in lost:
                        jobs.compare_and_set(key, worker, TO_DO)
                    running[worker + workers] = start(jobs, worker + workers)
            dead = jobs.stats().writers_died
            print(f"{jobs['primes']:,} primes below {LIMIT:,}; {dead} of the workers died writing")
            assert jobs == {"primes": 78_498}
        finally:
            jobs.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
