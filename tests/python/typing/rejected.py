"""What a type checker must reject: the lines marked with an E and the error's codes, and no other. Nothing runs this file."""

from collections.abc import Hashable, MutableMapping

from holdfast import MISSING, Cask, CaskBatch, CaskSnapshot, Change, Map, SharedMap, SharedSnapshot, TransientMap, footprint


class Sub(Map[str, int]):  # E: misc
    pass


class SubTransient(TransientMap[str, int]):  # E: misc
    pass


def write(m: Map[str, int]) -> None:
    m["a"] = 1  # E: index
    del m["a"]  # E: attr-defined
    mutable: MutableMapping[str, int] = m  # E: assignment
    print(mutable)


def wrong_key(m: Map[str, int]) -> None:
    m[1]  # E: index
    m.get(1)  # E: call-overload
    m.delete(1)  # E: arg-type
    m.dissoc("a", 1)  # E: arg-type
    m.discard(b"a")  # E: arg-type
    m.remove(1)  # E: arg-type
    m.pop(1)  # E: call-overload


def widened(m: Map[str, int], other: Map[int, str]) -> None:
    narrow: Map[str, int]
    narrow = m.set("a", 1.5)  # E: arg-type
    narrow = m.set(1, 1)  # E: arg-type
    narrow = m.update({"b": "x"})  # E: dict-item
    narrow = m.update(other)  # E: arg-type
    narrow = m | other  # E: assignment
    narrow = m.merge(other)  # E: arg-type
    value: int = m.get("a")  # E: assignment
    print(narrow, value)


def invariance(m: Map[str, int], wide: Map[str, object]) -> None:
    keys: Map[object, int] = m  # E: assignment
    narrowed: Map[str, int] = wide  # E: assignment
    t: TransientMap[str, int] = m.mutate()
    u: TransientMap[str, object] = t  # E: assignment
    print(keys, narrowed, u)


def wrong_shape(m: Map[str, int], n: Map[int, int]) -> None:
    m.set("a")  # E: call-overload
    m.assoc()  # E: call-overload
    m.update(3)  # E: call-overload
    m.merge([("a", 1)])  # E: call-overload
    n.update(b=1)  # E: call-overload
    m | [("a", 1)]  # E: operator
    m | 3  # E: operator
    m < m  # E: operator
    reversed(m)  # E: arg-type
    m.diff({"a": 1})  # E: arg-type
    Map.merge3(m, m, {"a": 1})  # E: call-overload
    Map.merge3(m, m, m, lambda key: 1)  # E: arg-type, misc
    Map.from_dict([("a", 1)])  # E: arg-type
    Map(["ab", "cd"])  # E: arg-type
    footprint({"a": 1})  # E: arg-type
    m.update_in(["a"], 3)  # E: arg-type
    m.assoc_in(3, 1)  # E: arg-type


def transient(m: Map[str, int]) -> None:
    t = m.mutate()
    t["a"] = "x"  # E: assignment
    t[1] = 1  # E: index
    t.set("a", "x")  # E: arg-type
    hashable: Hashable = t  # E: assignment
    print(hashable)
    t["b"] = t.get("c")  # E: assignment


def change(c: Change[str, int]) -> int:
    c.key = "b"  # E: misc
    if c.old is not MISSING and c.new:
        return c.new  # E: return-value
    return 0


def shared(m: SharedMap[str, int], s: SharedSnapshot[str, int]) -> None:
    m[1]  # E: index
    m["a"] = "b"  # E: assignment
    m.set("a", b"")  # E: arg-type
    m.delete(1)  # E: arg-type
    m.compare_and_set("a", "b", 1)  # E: arg-type
    m.incr("a", "b")  # E: call-overload
    s["a"] = 1  # E: index
    del s["a"]  # E: attr-defined
    s.diff(m)  # E: arg-type
    SharedMap[str, int]("x", "y")  # E: arg-type, call-arg
    SharedMap[str, int]("x", what=1)  # E: call-arg


def on_disk(c: Cask[str, int], s: CaskSnapshot[str, int], b: CaskBatch[str, int]) -> None:
    c[1]  # E: index
    c["a"] = "b"  # E: assignment
    c.put("a", b"")  # E: arg-type
    c.put("a", 1, ttl="soon")  # E: arg-type
    c.delete(1)  # E: arg-type
    c.info(1)  # E: arg-type
    c.fold(lambda key: 0, 0)  # E: arg-type, misc
    s["a"] = 1  # E: index
    del s["a"]  # E: attr-defined
    b["a"] = "b"  # E: assignment
    b["a"]  # E: index
    Cask[str, int]("x", "r")  # E: call-arg
    Cask[str, int]("x", mode="w")  # E: arg-type
    Cask[str, int]("x", sync="always")  # E: arg-type
    Cask[str, int]("x", what=1)  # E: call-arg
    Cask[str, int](5)  # E: arg-type
