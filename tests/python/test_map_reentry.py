"""Foreign code at awkward moments: what a review found, each a case of its own."""

import enum
import gc
import io
import pickle
import time
import weakref
from typing import Any

import pytest

from holdfast import Map, _core
from support import check_python


class Colour(enum.IntEnum):
    RED = 1


class SelfGarbage:
    """Runs `act` when the collector finds it."""

    def __init__(self, act: Any) -> None:
        self.act = act
        self.me = self

    def __del__(self) -> None:
        self.act()


class Plain:
    pass


@pytest.mark.parametrize("size", [3, 40])
@pytest.mark.parametrize("hold", ["iter", "==", "repr", "finish", "update"])
def test_a_finalizer_cannot_hold_what_an_edit_has_found_to_be_its_own(size: int, hold: str) -> None:
    held: list[Any] = []
    refused: list[type] = []

    class Spy:
        def __eq__(self, other: object) -> bool:
            held.append(other)
            return True

    transient: Any = Map().mutate()
    for i in range(size):
        transient[i] = Plain()
    other: Any = Map().mutate()

    def act() -> None:
        try:
            if hold == "iter":
                held.append(iter(transient.items()))
            elif hold == "==":
                transient == Spy()  # noqa: B015
            elif hold == "repr":
                held.append(repr(transient))
            elif hold == "finish":
                held.append(transient.finish())
            else:
                other.update(transient)
        except RuntimeError as error:
            refused.append(type(error))

    value = Plain()
    gc.collect()
    gc.disable()
    threshold = gc.get_threshold()
    try:
        SelfGarbage(act)
        gc.set_threshold(1)
        gc.enable()
        transient[size + 100] = value
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
    gc.collect()
    # The update came before the edit, or after it: from 3.12 on the collector waits until the edit is over.
    assert refused == [RuntimeError] or held or len(other) in (size, size + 1)
    for thing in held:
        if isinstance(thing, Map):
            thing._check()
    assert transient.finish()[size + 100] is value


@pytest.mark.parametrize(("one", "equal"), [(1, 1.0), (1, True), (1, Colour.RED), (0.0, -0.0), (2, 2 + 0j)])
def test_a_version_keeps_its_own_key_in_a_pickle(one: Any, equal: Any) -> None:
    base: Map[Any, str] = Map({i * 3 + 100: str(i) for i in range(1000)})
    versions = base.set(one, "x"), base.set(equal, "x")
    loaded = pickle.loads(pickle.dumps(versions))
    assert loaded == versions
    for version, expected in zip(loaded, (one, equal), strict=True):
        (key,) = (k for k in version if k == one)
        assert (type(key), repr(key)) == (type(expected), repr(expected))


def test_digests_that_cancel_out_are_remembered() -> None:
    # -1 and -2 have one hash: with equal values their digests come to zero.
    nested: Map[Any, Any] = Map(a=1)
    for _ in range(60):
        nested = Map({-1: nested, -2: nested})
    started = time.monotonic()
    assert hash(nested) == hash(frozenset(nested.items()))
    assert time.monotonic() - started < 30  # else 2 ** 60 steps


def test_the_source_of_an_update_may_read_the_transient() -> None:
    transient: Any = Map(a=1, b=2).mutate()
    transient.update((k, transient[k] + 1) for k in ("a", "b"))
    assert transient == {"a": 2, "b": 3}
    transient.update(transient)
    assert transient == {"a": 2, "b": 3}

    class Lazy:
        def keys(self) -> list[str]:
            return ["a"]

        def __getitem__(self, key: str) -> int:
            return int(transient[key]) + 1

    transient.update(Lazy())
    assert transient == {"a": 3, "b": 3}


def test_an_unpickler_that_its_map_refers_to_is_collected() -> None:
    class Marker:
        pass

    class Out(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return "me" if isinstance(obj, Marker) else None

    class In(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return self

    file = io.BytesIO()
    Out(file).dump(Map(owner=Marker(), n=1))
    file.seek(0)
    unpickler = In(file)
    loaded = unpickler.load()
    assert loaded["owner"] is unpickler
    seen = weakref.ref(unpickler), weakref.ref(loaded)
    del unpickler, loaded
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


class Acting:
    """A key whose n-th hash runs `act`."""

    def __init__(self) -> None:
        self.countdown = 0
        self.act: Any = None

    def __hash__(self) -> int:
        self.countdown -= 1
        if self.countdown == 0:
            self.act()
        return 7


def test_nothing_is_popped_twice() -> None:
    key = Acting()
    for nth in (1, 2, 3):
        for take in (lambda t: t.pop(key, None), lambda t: t.popitem()[1]):
            transient: Any = Map({key: "value"}).mutate()
            got: list[Any] = []
            key.act = lambda t=transient, got=got: got.append(t.pop(key, None))
            key.countdown = nth
            try:
                got.append(take(transient))
            except KeyError:
                pass
            key.countdown = 0
            assert [value for value in got if value is not None] == ["value"]
            transient.finish()._check()


def test_setdefault_does_not_overwrite() -> None:
    key = Acting()
    for nth in (1, 2, 3):
        transient: Any = Map().mutate()
        key.act = lambda t=transient: t.__setitem__(key, "theirs")
        key.countdown = nth
        result = transient.setdefault(key, "mine")
        key.countdown = 0
        assert transient[key] == result


def test_a_pickle_cannot_say_a_little_and_mean_a_lot() -> None:
    node = _core._load_node((1, 2))  # type: ignore[attr-defined]
    for _ in range(10):
        node = _core._load_node((), *[node] * 32)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="damaged pickle of a Map"):
        _core._load_map(node)  # type: ignore[attr-defined]


def test_a_tuple_that_is_given_out_again_has_the_hash_of_its_contents() -> None:
    """The iterator fills one tuple again and again; from 3.14 on a tuple remembers its hash."""
    for m in (Map({i: -i for i in range(500)}), Map({i: (i,) for i in range(500)})):
        expected = {(k, m[k]) for k in m}
        assert all(item in expected for item in m.items())
        assert [hash(item) == hash(tuple(list(item))) for item in m.items()] == [True] * 500


def test_pop_takes_what_it_found() -> None:
    """One walk: a key that is equal only once is popped all the same, and hashed once."""

    class Fickle:
        hashed = 0
        asked = 0

        def __hash__(self) -> int:
            Fickle.hashed += 1
            return 7

        def __eq__(self, other: object) -> bool:
            Fickle.asked += 1
            return Fickle.asked == 1

    m: Map[Any, int] = Map({Fickle(): 1, "other": 2})
    Fickle.hashed = Fickle.asked = 0
    value, rest = m.pop(Fickle())
    assert (value, len(rest), Fickle.hashed, Fickle.asked) == (1, 1, 1, 1)


def test_what_was_put_off_for_lack_of_stack_does_not_run_inside_an_edit() -> None:
    """CPython puts deallocations off where the stack is deep, and makes up for them in some later deallocator: not in that
    of a node that an edit in place has emptied."""
    check_python("""
        import gc
        from holdfast import Map

        class Bottom:
            def __init__(self, act):
                self.act = act
            def __eq__(self, other):
                self.act()
                return True

        class Last:
            def __init__(self, act):
                self.act = act
            def __del__(self):
                self.act()

        def nest(depth, bottom):
            for _ in range(depth):
                bottom = [bottom]
            return [bottom]

        def compares(depth):
            try:
                return nest(depth, Bottom(list)) == nest(depth, Bottom(None))
            except RecursionError:
                return False

        low, high = 1, 20_000
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if compares(middle) else (low, middle)

        def attempt(back):
            seen, derived = [], [None]
            base = Map({i: [i] for i in range(5)})
            box = [[Last(lambda: seen.append(sorted(derived[0])))]]
            left, right = nest(low - back, Bottom(box.clear)), nest(low - back, Bottom(None))
            derived[0] = base.set(7, [7])
            try:
                left == right
            except RecursionError:
                return 0
            put_off = not seen
            base = None
            gc.collect()
            derived[0]._check()
            assert all(keys == [0, 1, 2, 3, 4, 7] for keys in seen), seen
            return 1

        gc.disable()
        assert sum(attempt(back) for back in range(0, 60, 2)) > 10
    """)
