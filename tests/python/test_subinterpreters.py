"""The package in several interpreters of one process: each has types and singletons of its own, and none leaks.

Everything runs in a process of its own, since what goes wrong here goes wrong when interpreters end.
"""

from __future__ import annotations

import textwrap

from support import check_python

# The module that makes interpreters goes by another name in each version.
PRELUDE = """
import os, sys, textwrap
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def run(interpreter, code):
    failure = interpreters.run_string(interpreter, textwrap.dedent(code))
    # 3.13 hands the error back; before, it raises one itself.
    if failure is not None:
        raise SystemExit(failure)

def say(code):
    '''Code that sends the value of `answer` back through a pipe.'''
    return textwrap.dedent(code) + "\\nimport os; os.write({fd}, repr(answer).encode())"

def ask(interpreter, code):
    reader, writer = os.pipe()
    run(interpreter, say(code).replace("{fd}", str(writer)))
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        return eval(file.read())
"""

WORK = """
import copy, gc, pickle, weakref
import holdfast
from collections.abc import Mapping, MutableMapping
from holdfast import MISSING, Conflict, Map

m = Map({f"key {i}": [i] for i in range(2000)})
versions = [m.set("new", i) for i in range(50)]
assert isinstance(m, Mapping) and isinstance(m.mutate(), MutableMapping)
assert pickle.loads(pickle.dumps(versions)) == versions
assert m.diff(versions[3]) == [("new", MISSING, 3)]
assert copy.deepcopy(m) == m and copy.copy(m) is m
try:
    Map.merge3(m, versions[1], versions[2])
except Conflict as conflict:
    assert conflict.keys == ("new",)
with m.mutate() as t:
    t.clear()
assert t.finish() == Map() == {}
m._check()
cycle = []
cycle.append(m.set("cycle", cycle))
answer = (id(Map), id(MISSING), id(Map()), id(holdfast.Change), id(Conflict), id(holdfast.TransientMap))
"""


def run(code: str) -> str:
    return check_python(PRELUDE + f"WORK = {WORK!r}\n" + textwrap.dedent(code), timeout=120).strip()


def test_each_interpreter_has_its_own_objects() -> None:
    out = run("""
        exec(WORK)
        seen = [answer]
        rooms = [interpreters.create() for _ in range(3)]
        for room in rooms:
            seen.append(ask(room, WORK))
        ids = [i for ids in seen for i in ids]
        assert len(ids) == len(set(ids)), seen
        for room in rooms:
            interpreters.destroy(room)
        exec(WORK)
        print("apart")
    """)
    assert out == "apart"


def test_interpreters_come_and_go() -> None:
    out = run("""
        for _ in range(8):
            room = interpreters.create()
            ask(room, WORK)
            ask(room, WORK)
            interpreters.destroy(room)
        exec(WORK)
        print("gone")
    """)
    assert out == "gone"


def test_imported_only_in_an_interpreter_that_ends_first() -> None:
    out = run("""
        room = interpreters.create()
        ask(room, WORK)
        interpreters.destroy(room)
        room = interpreters.create()
        ask(room, WORK)
        exec(WORK)
        print("fine")
    """)
    assert out == "fine"


def test_an_interpreter_left_open_at_exit() -> None:
    out = run("""
        room = interpreters.create()
        ask(room, WORK)
        print("left")
    """)
    assert out == "left"


def test_pickles_are_how_maps_cross() -> None:
    out = run("""
        import pickle
        from holdfast import Map
        versions = [Map.fromkeys(range(100)), Map.fromkeys(range(101))]
        data = pickle.dumps(versions)
        room = interpreters.create()
        back = ask(room, f'''
            import pickle
            maps = pickle.loads({data!r})
            answer = pickle.dumps([m.set("there", True) for m in maps])
        ''')
        assert pickle.loads(back) == [m.set("there", True) for m in versions]
        print("crossed")
    """)
    assert out == "crossed"


def test_interpreters_in_threads() -> None:
    """From 3.12 on each with a lock of its own, so they run at the same time."""
    out = run("""
        import threading
        errors = []
        def work():
            try:
                room = interpreters.create()
                for _ in range(3):
                    ask(room, WORK)
                interpreters.destroy(room)
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        print("threads")
    """)
    assert out == "threads"


def test_the_module_can_be_imported_twice() -> None:
    """A second copy of the module, with state of its own, and the first one gone before the second."""
    out = check_python("""
        import gc, sys
        import holdfast
        first = holdfast.Map
        for name in [name for name in sys.modules if name.startswith("holdfast")]:
            del sys.modules[name]
        import holdfast as again
        m = again.Map(a=1)
        assert again.Map is not first
        old = first(a=1)
        assert old == m and m == old and old | m == m
        assert isinstance(old, first) and not isinstance(m, first)
        del holdfast, first, old
        gc.collect()
        assert m.set("b", [2]).diff(m) == [("b", [2], again.MISSING)]
        del again, m
        for name in [name for name in sys.modules if name.startswith("holdfast")]:
            del sys.modules[name]
        gc.collect()
        print("twice")
    """)
    assert out.strip() == "twice"


def test_a_module_that_is_dropped_is_collected() -> None:
    """Nothing of it keeps it alive: with interpreters that come and go, a leak would be 390 kB each."""
    out = check_python("""
        import gc, sys, weakref

        def import_and_drop():
            import holdfast
            kept = [weakref.ref(holdfast.Map), weakref.ref(type(holdfast.MISSING)), weakref.ref(sys.modules["holdfast._core"])]
            # Garbage of the same collection: Maps with edits put off, in cycles with the module.
            for _ in range(20):
                base = holdfast.Map({i: [i] for i in range(50)})
                derived = base.set(3, holdfast.Map)
                left, right = [derived, holdfast], [base, holdfast]
                left.append(left)
                right.append(right)
            plain = holdfast.Map({i: i for i in range(50)})
            holdfast.room = [plain, plain.set(1, 2)]
            for name in [name for name in sys.modules if name.startswith("holdfast")]:
                del sys.modules[name]
            return kept

        alive = []
        for _ in range(20):
            alive += import_and_drop()
            gc.collect()
        gc.collect()
        print(sum(ref() is not None for ref in alive))
    """)
    assert out.strip() == "0"
