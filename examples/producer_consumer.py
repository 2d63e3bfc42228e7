"""A queue in a SharedMap: two processes put things into it, three take them out; each thing is taken once.

    "head", "tail"      the numbers of the next to take, and of the next to put
    head ... tail - 1   the things in the queue

Putting and taking are transactions: a process that is killed in one has put, or taken, nothing. Whether there is
anything to do is asked before, outside: readers never wait for writers, nor make them wait.

    python examples/producer_consumer.py [HOW_MANY]
"""

import multiprocessing
import os
import sys
import time

from holdfast import SharedMap

PRODUCERS, CONSUMERS, ROOM = 2, 3, 100


def put(queue, thing):
    """Waits while the queue is full."""
    while True:
        if queue.get("tail", 0) - queue.get("head", 0) < ROOM:
            with queue.transaction():
                tail = queue.get("tail", 0)
                if tail - queue.get("head", 0) < ROOM:  # somebody else may have been faster
                    queue[tail] = thing
                    queue["tail"] = tail + 1
                    return
        time.sleep(0.0005)


def take(queue):
    """Waits while the queue is empty."""
    while True:
        if queue.get("tail", 0) > queue.get("head", 0):
            with queue.transaction():
                head = queue.get("head", 0)
                if queue.get("tail", 0) > head:
                    queue["head"] = head + 1
                    return queue.pop(head)
        time.sleep(0.0005)


def produce(queue, number, how_many):
    for i in range(how_many):
        put(queue, {"from": number, "number": i, "text": "x" * (i % 50)})


def consume(queue, number):
    last = [-1] * PRODUCERS
    while (thing := take(queue)) is not None:
        assert thing["number"] > last[thing["from"]], "what one producer puts is taken in its order"
        last[thing["from"]] = thing["number"]
        queue.incr(("taken", number))
        queue.incr(("sum", thing["from"]), thing["number"])


def main(how_many):
    with SharedMap(f"producer-consumer-{os.getpid()}", create=True) as queue:
        try:
            consumers = [multiprocessing.Process(target=consume, args=(queue, i)) for i in range(CONSUMERS)]
            producers = [multiprocessing.Process(target=produce, args=(queue, i, how_many)) for i in range(PRODUCERS)]
            start = time.perf_counter()
            for process in consumers + producers:
                process.start()
            for process in producers:
                process.join()
            for _ in consumers:
                put(queue, None)  # the end, for one of them
            for process in consumers:
                process.join()
            seconds = time.perf_counter() - start
            taken = [queue.get(("taken", i), 0) for i in range(CONSUMERS)]
            print(f"{sum(taken):,} things in {seconds:.2f} s; the consumers took {taken}")
            assert all(process.exitcode == 0 for process in consumers + producers)
            assert sum(taken) == PRODUCERS * how_many and queue["head"] == queue["tail"]
            assert [queue["sum", i] for i in range(PRODUCERS)] == [sum(range(how_many))] * PRODUCERS
        finally:
            queue.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
