"""What structural sharing promises, measured without a clock: bytes, calls of __eq__ and __hash__, identities.

Times are for the benchmarks. Here, work is counted: an operation on two versions that differ in one key
may not look at all the others.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Map, footprint
from support import FAMILIES, MERSENNE, Key, Probe, alarm

SIZE = 20_000


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


def work(call: Callable[[], Any]) -> tuple[Any, int]:
    """What a call gives, and how often it hashed or compared a Probe."""
    counter = Counter()
    with alarm(counter):
        result = call()
    return result, counter.calls


# -- memory -----------------------------------------------------------------------------------------------


class TestFootprint:
    def test_of_nothing_and_of_one(self) -> None:
        assert footprint() == 0
        assert footprint(Map()) > 0
        m = Map({i: i for i in range(1000)})
        assert footprint(m) == footprint(m, m) == footprint(m, m, m)
        # getsizeof adds the header that the collector keeps for the object itself.
        assert 0 <= sys.getsizeof(m) - m.__sizeof__() <= 32
        assert abs(footprint(m) - m.__sizeof__()) <= 32

    def test_a_shared_node_is_counted_once(self) -> None:
        m = Map({i: i for i in range(SIZE)})
        n = m.set(0, "changed")
        assert footprint(m, n) == footprint(n, m)
        assert footprint(m) < footprint(m, n) < footprint(m) + 2000
        apart = Map({i: i for i in range(SIZE)})
        assert footprint(m, apart) == footprint(m) + footprint(apart)

    def test_equal_contents_have_equal_size(self) -> None:
        """Canonical: the same contents have the same shape, whatever the history."""
        rng = random.Random(1)
        keys = list(range(2000))
        built = Map.fromkeys(keys)
        rng.shuffle(keys)
        one_by_one: Map[int, None] = Map()
        for key in keys:
            one_by_one = one_by_one.set(key, None)
        t = Map.fromkeys(range(-500, 2500)).mutate()
        for key in [*range(-500, 0), *range(2000, 2500)]:
            del t[key]
        shrunk = t.finish()
        merged = Map.fromkeys(range(1000)) | Map.fromkeys(range(500, 2000))
        assert built == one_by_one == shrunk == merged
        assert built.__sizeof__() == one_by_one.__sizeof__() == shrunk.__sizeof__() == merged.__sizeof__()

    @pytest.mark.parametrize("make", [int, str, lambda i: f"key number {i}", lambda i: (i, i)])
    def test_bytes_an_entry(self, make: Any) -> None:
        m = Map((make(i), None) for i in range(100_000))
        assert footprint(m) / len(m) <= 36

    def test_a_retained_version(self, rng: random.Random) -> None:
        m = Map({str(i): i for i in range(100_000)})
        versions = [m.set(str(rng.randrange(100_000)), -1) for _ in range(200)]
        assert (footprint(m, *versions) - footprint(m)) / 200 <= 1_100

    def test_adversarial_ints_cost_no_more_than_others(self) -> None:
        plain = footprint(Map.fromkeys(range(20_000)))
        assert footprint(Map.fromkeys((i << 32) | i for i in range(20_000))) <= 1.5 * plain
        assert footprint(Map.fromkeys(i << 20 for i in range(20_000))) <= 3 * plain
        assert footprint(Map.fromkeys(i * MERSENNE for i in range(500))) <= 64 * 500

    def test_getsizeof_walks(self) -> None:
        sizes = [sys.getsizeof(Map.fromkeys(range(size))) for size in (0, 1, 10, 100, 1000, 10_000)]
        assert sizes == sorted(set(sizes))


# -- the collector ----------------------------------------------------------------------------------------


class TestCollector:
    def test_nodes_of_atoms_are_not_tracked(self, collector_off: None) -> None:
        before = len(gc.get_objects())
        ints = Map({i: str(i) for i in range(SIZE)})
        assert len(gc.get_objects()) - before < 20
        versions = [ints.set(i, None) for i in range(100)]
        assert len(gc.get_objects()) - before < 200 + 20
        assert len(versions) == 100

    def test_nodes_of_containers_are_tracked_so_cycles_are_found(self, collector_off: None) -> None:
        before = len(gc.get_objects())
        lists = Map({i: None for i in range(SIZE)}).update({i: [] for i in range(0, SIZE, 100)})
        # The lists themselves, and at most the path to each.
        assert len(gc.get_objects()) - before < SIZE // 100 * 5
        assert len(lists) == SIZE


# -- work -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big() -> Map[Any, Any]:
    return Map((Probe(i), Probe(-i)) for i in range(SIZE))


class TestWork:
    """A Probe collides with one other in all 64 bits, so a touched entry costs up to a handful of calls."""

    FEW = 400

    def test_one_look_up_and_one_edit(self, big: Map[Any, Any]) -> None:
        key, value = Probe(7), Probe(0)
        for call in (
            lambda: big[key],
            lambda: big.get(key),
            lambda: key in big,
            lambda: big.set(key, value),
            lambda: big.dissoc(key),
            lambda: big.pop(key),
        ):
            assert 1 <= work(call)[1] <= 10

    def test_equality_of_an_edited_and_undone_version(self, big: Map[Any, Any]) -> None:
        key = next(iter(big))
        undone = big.set(key, None).set(key, big[key])
        assert undone is not big
        same, calls = work(lambda: big == undone)
        assert same and calls <= self.FEW
        without = big.set(Probe(-1), None).dissoc(Probe(-1))
        same, calls = work(lambda: without == big)
        assert same and calls <= self.FEW
        differs, calls = work(lambda: big == big.set(key, None))
        assert not differs and calls <= self.FEW

    def test_a_different_size_is_seen_at_once(self, big: Map[Any, Any]) -> None:
        less = big.dissoc(Probe(1))
        assert work(lambda: big == less) == (False, 0)
        assert work(lambda: big == {}) == (False, 0)

    def test_diff_of_a_few_changes(self, big: Map[Any, Any]) -> None:
        near = big.set(Probe(5), None).dissoc(Probe(1000)).set(Probe(SIZE + 5), None)
        changes, calls = work(lambda: big.diff(near))
        assert len(changes) == 3
        assert calls <= self.FEW

    def test_union_with_a_derived_map(self, big: Map[Any, Any]) -> None:
        near = big.set(Probe(5), None).set(Probe(SIZE + 5), None)
        for call in (
            lambda: big | near,
            lambda: big.update(near),
            lambda: big.merge(near),
        ):
            united, calls = work(call)
            assert united == near
            assert calls <= self.FEW
            assert footprint(big, near, united) - footprint(big, near) <= 2000

    def test_three_way_merge_of_near_versions(self, big: Map[Any, Any]) -> None:
        mine = big.set(Probe(5), None).dissoc(Probe(100))
        theirs = big.set(Probe(500), None).dissoc(Probe(1000))
        merged, calls = work(lambda: Map.merge3(big, mine, theirs))
        assert merged == mine.set(Probe(500), None).dissoc(Probe(1000))
        assert calls <= self.FEW

    def test_a_hash_after_one_edit(self, big: Map[Any, Any]) -> None:
        hash(big)
        near = big.set(Probe(5), Probe(0))
        value, calls = work(lambda: hash(near))
        assert calls <= self.FEW
        assert work(lambda: hash(near)) == (value, 0)

    def test_a_transient_copies_only_what_it_touches(self, big: Map[Any, Any]) -> None:
        t = big.mutate()
        t[Probe(5)] = None
        assert footprint(big, t.finish()) - footprint(big) <= 2000

    def test_copies_cost_nothing(self, big: Map[Any, Any]) -> None:
        for call in (big.copy, lambda: Map(big), lambda: big.mutate().finish(), lambda: big.diff(big)):
            assert work(call)[1] == 0


# -- results that equal an operand are that operand ------------------------------------------------------


class TestIdentity:
    @pytest.mark.parametrize("size", [1, 30, 2000])
    def test_unions(self, size: int) -> None:
        m = Map({i: str(i) for i in range(size)})
        less = m.dissoc(0)
        assert m | less is m
        assert m.update(less) is m
        assert m.merge(less, less) is m
        assert m | m.set(0, m[0]) is m
        assert m | dict(less) is m
        assert m.merge(less, with_=lambda left, right: left) is m
        assert less | m == m
        # Built apart, of the very same keys and values: other nodes, nothing new in them.
        apart = Map(dict(m))
        assert m | apart is m
        assert apart | m is apart
        assert m | apart.dissoc(size - 1) is m
        assert Map.merge3(m, apart, m) is apart or Map.merge3(m, apart, m) is m

    def test_three_way_merges(self) -> None:
        base = Map({i: str(i) for i in range(2000)})
        mine = base.set(5, "mine")
        assert Map.merge3(base, mine, base) is mine
        assert Map.merge3(base, base, mine) is mine
        assert Map.merge3(base, mine, mine) is mine
        assert Map.merge3(base, base, base) is base
        assert Map.merge3(base, mine, base.dissoc(5), lambda key, b, m, t: m) is mine

    def test_a_merge_shares_with_both_sides(self) -> None:
        base = Map({i: i for i in range(SIZE)})
        mine, theirs = base.set(1, "mine"), base.set(2, "theirs")
        merged = Map.merge3(base, mine, theirs)
        assert footprint(base, mine, theirs, merged) - footprint(base, mine, theirs) <= 2000

    def test_disjoint_parts_are_shared(self) -> None:
        """Halves that fall under different children of the root are taken over, not copied."""
        left = Map((Key("low 10 equal", i), i) for i in range(5000))
        right = Map((Key("low 5 equal", i), i) for i in range(5000))
        united = left | right
        assert len(united) == 10_000
        assert footprint(left, right, united) - footprint(left, right) <= 0.2 * footprint(united)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_hashes_gives_a_sound_trie(family: str) -> None:
    count = 100 if family == "all 64 bits equal" else 1000
    keys = [Key(family, i) for i in range(count)]
    m = Map((key, key.number) for key in keys)
    m._check()
    assert len(m) == count
    half = m.dissoc(*keys[::2])
    half._check()
    assert {key.number for key in half} == set(range(1, count, 2))
    assert half | m == m
    assert (half | m).__sizeof__() == m.__sizeof__()
