"""200,000 levels of nesting: a right answer or a RecursionError, never an overflow of the C stack.

Every case runs in a process of its own, on the main thread and on another thread, with a small stack where the
interpreter allows for that, and must end by itself: what it printed last tells how. The nest is taken apart at the end of each, which is a case too.
"""

from __future__ import annotations

import textwrap

import pytest

from support import check_python

PRELUDE = """
import copy, gc, operator, pickle, sys, threading
import holdfast
import support
from holdfast import Map

DEPTH = 200_000
# Costly levels, so fewer of them: still more than 8 MiB of stack hold at 170 bytes a level.
SOME = DEPTH if support.TORTURE else DEPTH // 4

def nest(depth=DEPTH, bottom=None):
    m = Map(bottom=bottom)
    for _ in range(depth):
        m = Map(m=m)
    return m

def nest_wide(depth=SOME):
    '''Each level in a node below the root: collisions, and 40 other entries.'''
    filler = dict.fromkeys(range(40))
    m = Map()
    for _ in range(depth):
        m = Map({**filler, 'm': m})
    return m

def nest_tracked(depth=DEPTH):
    '''Through nodes that the collector knows, and through lists and tuples in between.'''
    m = Map()
    for i in range(depth // 3):
        m = Map(m=[(m,)])
    return m

def nest_keys(depth=DEPTH):
    '''In the keys: each level is hashed as it is made.'''
    m = Map()
    for _ in range(depth):
        m = Map({m: 1})
    return m

def nest_versions(depth=SOME):
    '''Each level a version of the one below.'''
    m = Map({i: i for i in range(40)})
    for _ in range(depth):
        m = m.set('m', m)
    return m

def attempt(call):
    try:
        result = call()
    except RecursionError:
        print('RecursionError')
    except TypeError as error:
        assert 'unhashable' in str(error)  # the nest with lists in it
        print('answered', error)
    else:
        print('answered', result if isinstance(result, (bool, int)) else type(result).__name__)
        return result

def depth_of(m):
    depth = 0
    while m.get('m') is not None:
        m = m['m']
        depth += 1
    return depth
"""

NESTS = ["nest()", "nest_wide()", "nest_tracked()", "nest_keys()", "nest_versions()"]

CASES = {
    "dealloc": "del m; print('answered')",
    "dealloc by the collector": "m = Map(loop=[m]); m['loop'].append(m); del m; gc.collect(); print('answered')",
    "hash": "attempt(lambda: hash(m))",
    "repr": "attempt(lambda: repr(m))",
    "pickle": "attempt(lambda: pickle.dumps(m)); attempt(lambda: pickle.dumps(m, 0))",
    "deepcopy": "attempt(lambda: copy.deepcopy(m))",
    "collect": "gc.collect(); print('answered')",
    "iterate": "attempt(lambda: len(list(m.items())))",
    "footprint": "attempt(lambda: holdfast.footprint(m) > 0); attempt(lambda: sys.getsizeof(m) > 0)",
    "check": "m._check(); print('answered')",
    "edit": "attempt(lambda: m.set('other', 1)); attempt(lambda: len(m.dissoc('m')))",
    "transient": "t = m.mutate(); t['other'] = 1; repr_ = attempt(lambda: repr(t)); t.clear(); print('answered')",
}

# For these the second nest is equal and made apart, level by level.
PAIRS = {
    "==": "attempt(lambda: m == other); attempt(lambda: m != other)",
    "== items": "attempt(lambda: m.items() == other.items())",
    "diff": "attempt(lambda: len(m.diff(other)))",
    "update": "attempt(lambda: m.update(other)); attempt(lambda: m | other)",
    "merge3": "attempt(lambda: Map.merge3(m, other, m))",
    "as a key": "attempt(lambda: {m: 1}[other])",
    "match": "attempt(lambda: operator.eq([m], [other]))",
}

RUN = """
def main():
    m = {nest}
    {pair}
    {case}

if {threaded}:
    # From 3.12 on the limit to recursion in C is a constant, made for 8 MiB: with less, lists overflow as well.
    threading.stack_size(1024 * 1024 * (1 if sys.version_info < (3, 12) and not support.SANITIZED else 8))
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
else:
    main()
gc.collect()
print('done')
"""


def run(nest: str, case: str, pair: str = "", threaded: bool = False) -> list[str]:
    code = PRELUDE + RUN.format(nest=nest, case=case, pair=pair, threaded=threaded)
    lines = check_python(code, timeout=120).splitlines()
    assert lines[-1] == "done"
    for line in lines[:-1]:
        assert line == "RecursionError" or line.startswith("answered"), line
    return lines[:-1]


@pytest.mark.parametrize("threaded", [False, True], ids=["main thread", "other thread"])
@pytest.mark.parametrize("nest", NESTS)
def test_one_nest(nest: str, threaded: bool) -> None:
    # A RecursionError leaves everything usable, so the cases follow each other in one process.
    cases = "; ".join(f"print('# {name}', file=sys.stderr); {case}" for name, case in CASES.items() if "del m" not in case)
    answers = run(nest, cases, threaded=threaded)
    assert len(answers) >= len(CASES) - 2


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("case", ["dealloc", "dealloc by the collector"])
def test_the_end_of_a_nest(nest: str, case: str) -> None:
    assert run(nest, CASES[case]) == ["answered"]
    assert run(nest, CASES[case], threaded=True) == ["answered"]


@pytest.mark.parametrize("threaded", [False, True], ids=["main thread", "other thread"])
@pytest.mark.parametrize("nest", NESTS)
def test_two_nests(nest: str, threaded: bool) -> None:
    cases = "; ".join(f"print('# {name}', file=sys.stderr); {case}" for name, case in PAIRS.items())
    answers = run(nest, cases, f"other = {nest}", threaded=threaded)
    assert len(answers) >= len(PAIRS)


def test_the_answers_are_right_where_they_are_given() -> None:
    """At a depth that recursion allows, each of these must give the answer and not give up."""
    code = """
    m, other, apart = nest(60), nest(60), nest(60, bottom=1)
    assert m == other and m != apart and hash(m) == hash(other) == hash(frozenset(m.items()))
    assert repr(m).count('holdfast.Map(') == 61
    assert pickle.loads(pickle.dumps(m)) == m == copy.deepcopy(m)
    assert depth_of(pickle.loads(pickle.dumps(m))) == 60
    assert m.diff(other) == [] and len(m.diff(apart)) == 1
    deep = nest()
    assert depth_of(deep) == DEPTH
    assert (deep == deep.set('x', 1).dissoc('x')) is True
    assert deep.diff(deep.set('x', 1)) == [('x', holdfast.MISSING, 1)]
    assert deep.get_in(['m'] * DEPTH + ['bottom'], 5) is None
    assert deep.get_in(['m'] * DEPTH + ['x'], 5) == 5
    keys = nest_keys(1000)
    assert hash(keys) == hash(frozenset(keys.items()))
    print('right')
    """
    assert check_python(PRELUDE + textwrap.dedent(code)).strip() == "right"


def test_deep_paths() -> None:
    """A path of 200,000 keys is made, followed and edited, or refused with a RecursionError."""
    code = """
    path = ['m'] * DEPTH
    m = attempt(lambda: Map().assoc_in(path, 1))
    m = nest(DEPTH, 0)
    attempt(lambda: m.assoc_in(path + ['x'], 1))
    attempt(lambda: m.update_in(path + ['bottom'], lambda old: 5))
    attempt(lambda: m.dissoc_in(path + ['bottom']))
    attempt(lambda: m.get_in(path + ['bottom']))
    del m
    print('done')
    """
    lines = check_python(PRELUDE + textwrap.dedent(code)).splitlines()
    assert lines[-1] == "done" and len(lines) == 6


def test_a_deep_pickle_loads_without_recursion() -> None:
    """What a deeper stack could pickle must load on this one: unpickling itself does not recurse."""
    code = """
    data = pickle.dumps(nest(150))
    sys.setrecursionlimit(60)
    loaded = pickle.loads(data)
    sys.setrecursionlimit(1000)
    assert depth_of(loaded) == 150
    print('done')
    """
    assert check_python(PRELUDE + textwrap.dedent(code)).strip() == "done"
