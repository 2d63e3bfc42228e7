"""Objects as encoded values and back: holdfast._homes.encode, decode and canonical.

Held to the model of the encoding in value_encoding.py byte by byte, to the objects themselves when they come back, and
to a dict for what is one key.
"""

from __future__ import annotations

import enum
import gc
import math
import pickle
import random
import sys
import threading
import tracemalloc
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, localcontext
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast import (
    CorruptError,
    HoldfastError,
    KeyTypeError,
    KeyValueError,
    LimitError,
    UnknownNameError,
    ValueTypeError,
    _homes,
    register_codec,
)
from holdfast._homes import canonical, decode, encode
from support import HERE, SANITIZED, TORTURE, Boom, check_python, refcounts, settled_refcounts
from test_value_oracle import (
    ENUMS,
    SPECIAL,
    Colour,
    Folding,
    Number,
    OneHour,
    Option,
    Outer,
    Size,
    StringEnum,
    draw_key,
    exactly,
)
from value_encoding import ZONES
from value_encoding import encode as model_encode

DEPTH = 200  # HF_VALUE_DEPTH_MAX
ROUNDS = 50 if TORTURE else 1


class Point:
    """A class of a user's, with a codec."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.x, self.y) == (other.x, other.y)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((self.x, self.y))

    def __repr__(self) -> str:
        return f"Point({self.x!r}, {self.y!r})"


class Calling:
    """A class whose codec, or pickle, does what a test says."""

    act: Callable[[], Any] = staticmethod(lambda: None)

    def __reduce__(self) -> Any:
        Calling.act()
        return Calling, ()


class CallingCodec:
    """The same with a codec."""

    act: Callable[[], Any] = staticmethod(lambda: None)


register_codec(Point, "test.Point", lambda p: [p.x, p.y], lambda xy: Point(*xy))
register_codec(CallingCodec, "test.Calling", lambda _: CallingCodec.act(), lambda _: CallingCodec())


# -- values of every type, nested -----------------------------------------------------------------------------


SMALL = [value for value in SPECIAL if len(model_encode(value)) < 500]


def draw_value(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.4:
        return rng.choice([lambda: draw_key(rng, 0), lambda: rng.choice(SMALL)])()
    members = [draw_value(rng, depth - 1) for _ in range(rng.choice([0, 1, 2, 3, 20]))]
    keys = [draw_key(rng, 1) for _ in members]
    return rng.choice([
        lambda: members, lambda: tuple(members), lambda: dict(zip(keys, members, strict=True)), lambda: set(keys),
        lambda: frozenset(keys), lambda: bytearray(rng.randbytes(len(members))),
    ])()  # fmt: skip


def test_the_bytes_are_those_of_the_model(rng: random.Random) -> None:
    for _ in range(700 * ROUNDS):
        value = draw_value(rng, 3)
        data = encode(value, pickle=True)
        assert data == model_encode(value), value


def test_values_come_back_exactly(rng: random.Random) -> None:
    for value in SPECIAL:
        assert exactly(decode(encode(value, pickle=True), pickle=True), value), value
    for _ in range(700 * ROUNDS):
        value = draw_value(rng, 3)
        assert exactly(decode(encode(value, pickle=True), pickle=True), value), value


ZONE = st.sampled_from([*ZONES.values(), timezone.utc]) | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(max_size=3)
)
ATOMS = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**200), 2**200) | st.floats() | st.complex_numbers()
    | st.text(st.characters(), max_size=100) | st.text(st.characters(categories=["Cs", "L"]), max_size=5)
    | st.binary(max_size=100) | st.dates() | st.times(timezones=st.none() | ZONE)
    | st.datetimes(timezones=st.none() | ZONE) | st.timedeltas() | ZONE | st.decimals(allow_nan=False)
    | st.fractions()
    | st.builds(UUID, int=st.integers(0, 2**128 - 1), is_safe=st.sampled_from(list(SafeUUID))) | st.sampled_from(ENUMS)
)  # fmt: skip
KEYS = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4), max_leaves=5
)
VALUES = st.recursive(
    KEYS | st.binary(max_size=50).map(bytearray) | st.builds(Point, ATOMS, ATOMS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.sets(KEYS, max_size=4)
    | st.lists(inner, max_size=17).map(tuple),
    max_leaves=20,
)  # fmt: skip


def no_nan(value: Any) -> bool:
    """Whether it equals its copy: a set with a nan in it does not."""
    return "nan" not in repr(value).lower()


@st.composite
def keys(draw: st.DrawFn) -> Any:
    return draw(KEYS.filter(no_nan))


@st.composite
def values(draw: st.DrawFn) -> Any:
    return draw(VALUES.filter(no_nan))


@given(values())
def test_round_trip(value: Any) -> None:
    data = encode(value)
    back = decode(data)
    assert same(back, value)
    assert encode(back) == data


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Point) and isinstance(b, Point):
        return same([a.x, a.y], [b.x, b.y])
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and type(a) is type(b):
        return same(list(a.items()), list(b.items()))
    return exactly(a, b)


def test_nans_keep_their_bits_and_stay_two_in_a_set() -> None:
    nans = {float("nan"), float("nan")}
    assert len(decode(encode(nans))) == len(decode(encode(frozenset(nans)))) == 2
    assert len(decode(encode(dict.fromkeys(nans)))) == 2


def test_dicts_keep_their_order_and_sets_have_one_encoding(rng: random.Random) -> None:
    names = [f"name {i}" for i in range(100)]
    forms = set()
    for _ in range(20):
        rng.shuffle(names)
        assert list(decode(encode(dict.fromkeys(names)))) == names
        forms.add(encode(set(names)))
    assert len(forms) == 1


def test_what_comes_back_is_a_copy() -> None:
    inner: list[int] = []
    outer = [inner, inner]
    back = decode(encode(outer))
    assert back == outer and back[0] is not back[1]


@pytest.mark.parametrize("size", [0, 1, 62, 63, 64, 127, 128, 1000, 100_000])
@pytest.mark.parametrize("character", ["a", "\xe9", "\u20ac", "\U0001f600", "\udcff"])
def test_text_of_every_width_and_length(character: str, size: int) -> None:
    text = character * size
    data = encode(text)
    assert data == model_encode(text) and decode(data) == text
    assert encode({text: text}) == model_encode({text: text})


def test_decimals_do_not_depend_on_the_context() -> None:
    numbers = [Decimal("1E+5"), Decimal("123456789012345678901234567890.5"), Decimal("-sNaN17"), Decimal("1E-1999999999")]
    expected = [encode(number) for number in numbers]
    with localcontext() as context:
        context.prec, context.capitals, context.Emax, context.Emin = 2, 0, 3, -3
        for trap in context.traps:
            context.traps[trap] = True
        for number, data in zip(numbers, expected, strict=True):
            assert encode(number) == data
            assert decode(data).as_tuple() == number.as_tuple()


@pytest.mark.parametrize("exponent", [10**18 - 1, -(2 * 10**18 - 3), 10**18, -(2 * 10**18 - 2), 2**62, -(2**62)])
def test_decimals_at_the_limits(exponent: int) -> None:
    zigzag = exponent << 1 if exponent >= 0 else (-exponent << 1) - 1
    out = bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    data = b"\x0e\x00" + bytes(out) + bytes([zigzag]) + b"\x01\x01"
    if -(2 * 10**18 - 3) <= exponent < 10**18:
        assert decode(data).as_tuple() == (0, (1,), exponent) and encode(decode(data)) == data
    else:
        with pytest.raises(CorruptError, match="a Decimal out of range"):
            decode(data)


# -- exactly these types --------------------------------------------------------------------------------------


class MyInt(int): ...


class MyStr(str): ...


class MyBytes(bytes): ...


class MyFloat(float): ...


class MyList(list): ...  # type: ignore[type-arg]


class MyDict(dict): ...  # type: ignore[type-arg]


class MyDate(date): ...


class MyDatetime(datetime): ...


class MyDecimal(Decimal): ...


class MyUUID(UUID): ...


Pair = namedtuple("Pair", "a b")

SUBCLASSED = [
    MyInt(1), MyStr("x"), MyBytes(b"x"), MyFloat(1.5), MyList([1]), MyDict(a=1), MyDate(2000, 1, 1),
    MyDatetime(2000, 1, 1), MyDecimal(1), MyUUID(int=1), Pair(1, 2), OrderedDict(a=1), defaultdict(list, a=[1]),
    SimpleNamespace(a=1), range(3), slice(1), Exception("x"), 1 .__class__, len, ...,
]  # fmt: skip


@pytest.mark.parametrize("value", SUBCLASSED, ids=lambda value: type(value).__name__)
def test_a_subclass_is_never_made_a_plain_value(value: Any) -> None:
    name = type(value).__name__
    with pytest.raises(ValueTypeError, match=rf"type '(\w+\.)*{name}' cannot be stored.*register_codec.*pickle=True"):
        encode(value)
    with pytest.raises(ValueTypeError, match=name):
        encode([{"x": (value,)}])
    with pytest.raises(KeyTypeError, match="cannot be a key|unhashable type") as info:
        canonical(value)
    assert name in str(info.value)
    if isinstance(value, slice) and sys.version_info < (3, 12):
        return
    data = encode(value, pickle=True)
    assert data[0] == 0x20 and data == model_encode(value)
    back = decode(data, pickle=True)
    assert type(back) is type(value) and (back == value or isinstance(value, Exception))


def test_pickles_are_refused_for_reading_too() -> None:
    data = encode([Pair(1, 2)], pickle=True)
    assert decode(data, pickle=True) == [(1, 2)]
    with pytest.raises(ValueTypeError, match="pickle=True allows them"):
        decode(data)
    evil = b"cos\nsystem\n(S'exit 1'\ntR."
    with pytest.raises(ValueTypeError, match="pickles are not allowed here"):
        decode(b"\x20" + bytes([len(evil)]) + evil)


def test_what_pickle_refuses_says_so_and_why() -> None:
    with pytest.raises(ValueTypeError, match="'generator' cannot be stored") as info:
        encode((i for i in ()), pickle=True)
    assert isinstance(info.value.__cause__, TypeError) and "generator" in str(info.value.__cause__)
    with pytest.raises(ValueTypeError, match="'function' cannot be stored") as info:
        encode(lambda: None, pickle=True)
    assert isinstance(info.value.__cause__, (pickle.PicklingError, AttributeError))


# -- keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_keys_are_one_where_a_dict_says_so(rng: random.Random, depth: int) -> None:
    pythons: dict[Any, int] = {}
    forms: dict[bytes, int] = {}
    equal = 0
    for i in range(4000 * ROUNDS):
        key = draw_key(rng, depth)
        form = canonical(key, pickle=True)
        expected, found = pythons.setdefault(key, i), forms.setdefault(form, i)
        equal += expected != i
        assert expected == found, key
    assert equal > 800 and len(forms) > 200


@given(keys(), keys())
def test_pairs_of_keys(a: Any, b: Any) -> None:
    try:
        forms = canonical(a), canonical(b)
    except KeyValueError:  # a Decimal too large to reduce
        return
    # CPython compares ZoneInfos and datetimes of an hour that clocks repeat as canonical.h says; all else is ==.
    assert (forms[0] == forms[1]) == (len({a, b}) == 1)


@pytest.mark.parametrize("value", [[], {}, set(), bytearray(), (1, []), frozenset({(1, 2)}) and ({},), MyList()])
def test_an_unhashable_key_is_the_type_error_of_a_dict(value: Any) -> None:
    with pytest.raises(TypeError) as expected:
        {value: 1}  # noqa: B018
    with pytest.raises(KeyTypeError) as found:
        canonical(value)
    assert str(found.value) == str(expected.value).split(" (")[0]
    with pytest.raises(KeyTypeError):
        encode(value, key=True)


def test_nan_is_no_key() -> None:
    for value in (math.nan, complex(0, math.nan), Decimal("nan"), Decimal("snan"), (1, math.nan), frozenset({math.nan})):
        with pytest.raises(KeyValueError, match="nan"):
            canonical(value)
        assert isinstance(decode(encode(value)), type(value))


def test_what_else_is_no_key() -> None:
    for value in (object(), Point(1, 2), Calling(), int, len, MyInt(1), Pair(1, 2), (1, Point(1, 2))):
        with pytest.raises(KeyTypeError, match="cannot be a key; what can: None, bool"):
            canonical(value, pickle=True)
    with pytest.raises(KeyValueError, match="Decimal"):
        canonical(Decimal("1E+10000"))
    with pytest.raises(KeyTypeError, match="repeat"):
        canonical(datetime(2000, 1, 1, tzinfo=Folding()), pickle=True)


def test_a_key_with_a_tzinfo_of_its_own_is_its_instant() -> None:
    moment = datetime(2000, 1, 1, 1, tzinfo=OneHour())
    assert canonical(moment, pickle=True) == canonical(datetime(2000, 1, 1, tzinfo=timezone.utc))
    with pytest.raises(ValueTypeError, match="OneHour"):
        canonical(moment)


def test_keys_of_every_length() -> None:
    for size in (*range(300), 10_000):
        for key in ("k" * size, b"k" * size, "\xe9" * size, 2**size, ("k" * size,), frozenset({b"k" * size})):
            assert canonical(key) == encode(key)  # its own form: also where it outgrows the room for it
        assert canonical((2.0**min(size, 1000), "x" * size)) == encode((2**min(size, 1000), "x" * size))


# -- Enums ----------------------------------------------------------------------------------------------------


class Insensitive(enum.Enum):
    """One with an equality of its own."""

    A = "a"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.lower() == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class Ordered(enum.Enum):
    A = 1

    def __lt__(self, other: object) -> bool:
        return True


class OwnInt(int, enum.Enum):
    A = 1

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return 5


class Unhashable(enum.Enum):
    A = 1

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


class Mixed(Point, enum.Enum):
    A = (1, 2)


class Listed(list, enum.Enum):  # type: ignore[type-arg]
    A = ([1, 2],)


class ZoneEnum(tzinfo, enum.Enum):
    A = 1

    def __init__(self, _: int) -> None: ...

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)


def test_members_are_stored_by_name() -> None:
    for member in (*ENUMS, Insensitive.A, Ordered.A, OwnInt.A, Unhashable.A, Mixed.A, Listed.A):
        assert decode(encode(member)) is member
    assert Colour.ALSO_RED is Colour.RED
    assert encode(Outer.Colour.RED) != encode(Colour.RED)
    for member in (*ENUMS, Ordered.A):
        canonical(member)
    for member in (Insensitive.A, OwnInt.A, Mixed.A, Unhashable.A, Listed.A):
        with pytest.raises(KeyTypeError, match="equality of its own"):
            canonical(member)


def test_an_enum_that_cannot_be_found_again_is_refused() -> None:
    class Local(enum.Enum):
        A = 1

    with pytest.raises(ValueTypeError, match=r"not found as test_value_python\..*<locals>\.Local"):
        encode(Local.A)
    with pytest.raises(ValueTypeError, match="not found as"):
        canonical(Local.A)


def enum_bytes(module: str, name: str, member: bytes, base: bytes = b"") -> bytes:
    return (b"\x1e" if base else b"\x1d") + encode(module) + encode(name) + member + base


@pytest.mark.parametrize(
    ("module", "name", "match"),
    [
        ("no.such.module", "E", r"no Enum 'no.such.module.E'"),
        (__name__, "NoSuchClass", r"no Enum '.*NoSuchClass'"),
        (__name__, "Point", "no Enum"),
        (__name__, "DEPTH", "no Enum"),
        (__name__, "Ordered.A.name", "no Enum"),
        (__name__, "", "no Enum"),
        (__name__, "test_round_trip.hypothesis", "no Enum"),
        ("wave", "E", "no Enum"),
    ],
)
def test_a_class_is_looked_for_among_what_is_imported(module: str, name: str, match: str) -> None:
    sys.modules.pop("wave", None)
    with pytest.raises(UnknownNameError, match=match):
        decode(enum_bytes(module, name, encode("A")))
    assert "wave" not in sys.modules


def test_a_member_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match="has no member 'BLUE'"):
        decode(enum_bytes("test_value_oracle", "Colour", encode("BLUE")))
    with pytest.raises(UnknownNameError, match="has no member 64"):
        decode(enum_bytes("test_value_oracle", "Option", encode(64)))
    with pytest.raises(CorruptError, match="no Flag"):
        decode(enum_bytes("test_value_oracle", "Colour", encode(1)))
    assert decode(enum_bytes("test_value_oracle", "Option", encode(3))) is Option.X | Option.Y
    assert decode(enum_bytes("test_value_oracle", "Size", encode("SMALL"), encode(1))) is Size.SMALL
    assert decode(enum_bytes("test_value_oracle", "Number", encode(3), encode(3))) is Number.X | Number.Y
    with pytest.raises(CorruptError):
        decode(enum_bytes("test_value_oracle", "Size", encode("SMALL"), b"\xff"))


class When(datetime, enum.Enum):
    AWARE = 2024, 7, 1, 12, 0, 0, 0, ZoneInfo("Europe/Berlin")


class NotEvenItself(float, enum.Enum):
    NAN = math.nan


class OfObjects(tuple, enum.Enum):  # type: ignore[type-arg]
    A = ((SimpleNamespace(x=math.nan),),)


@pytest.mark.parametrize(
    ("name", "member", "base"),
    [
        ("Size", "SMALL", 2),
        ("Size", "SMALL", 2**70),
        ("Size", "SMALL", 1.0),
        ("Size", "SMALL", True),
        ("Word", "A", "b"),
        ("StringEnum", "A", b"a"),
        ("Real", "HALF", math.nan),
        ("Colour", "RED", 1),
        ("Colour", "RED", None),
        ("Number", 3, 4),
    ],
)
def test_a_member_that_equals_something_else_by_now(name: str, member: object, base: object) -> None:
    """As a key it could not be found: not what was stored."""
    with pytest.raises(UnknownNameError, match="its class has changed"):
        decode(enum_bytes("test_value_oracle", name, encode(member), encode(base)))
    with pytest.raises(UnknownNameError, match="its class has changed"):
        decode(b"\x07\x01" + enum_bytes("test_value_oracle", name, encode(member), encode(base)))


def test_a_member_that_equals_the_same_in_other_bytes() -> None:
    assert decode(encode(NotEvenItself.NAN)) is NotEvenItself.NAN
    assert decode(encode(OfObjects.A, pickle=True), pickle=True) is OfObjects.A
    # Of an aware datetime the offset is stored too, and a zone's rules may have changed.
    data = encode(When.AWARE)
    assert decode(data) is When.AWARE
    base = encode(datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")))
    assert data.endswith(base) and base[10:15] == (2 * 3600 * 10**6).to_bytes(5, "little")
    before = data[: -len(base)]
    assert decode(before + base[:10] + (3600 * 10**6).to_bytes(5, "little") + base[15:]) is When.AWARE
    with pytest.raises(UnknownNameError, match="its class has changed"):
        decode(before + base[:2] + bytes([base[2] ^ 1]) + base[3:])


def test_modules_are_not_asked_for_attributes_they_make(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys.modules[__name__], "__getattr__", asked.append, raising=False)
    with pytest.raises(UnknownNameError):
        decode(enum_bytes(__name__, "Lazy", encode("A")))
    assert asked == []


def test_a_time_zone_that_is_not_there() -> None:
    for key in ("No/Such", "../etc/passwd", "/etc/passwd", "", "\0", "\udcff"):
        with pytest.raises(UnknownNameError, match="no time zone") as info:
            decode(b"\x0d" + encode(key))
        assert info.value.__cause__ is not None


def test_a_zoneinfo_without_a_key_is_no_value_of_its_own() -> None:
    import io

    from value_encoding import ZONE_FILES

    zone = ZoneInfo.from_file(io.BytesIO(ZONE_FILES["Test/UTC"]))
    moment = datetime(2000, 1, 1, tzinfo=zone)
    for value in (zone, moment):
        with pytest.raises(ValueTypeError, match="ZoneInfo"):
            encode(value)
        with pytest.raises(ValueTypeError, match="pickle refuses it"):
            encode(value, pickle=True)


# -- depth ----------------------------------------------------------------------------------------------------

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {1: inner},
    "object": lambda inner: Point(inner, 1),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_nesting_has_a_limit(name: str) -> None:
    value: Any = None
    opens = 2 if name == "object" else 1  # the object, and the list that its codec makes
    for _ in range(DEPTH // opens):
        value = WRAPPERS[name](value)
    assert encode(decode(encode(value))) == encode(value)
    value = WRAPPERS[name](value)
    with pytest.raises(LimitError, match="more than 200 deep"):
        encode(value)
    for _ in range(1000 if name == "object" else 100_000):
        value = WRAPPERS[name](value)
    with pytest.raises(ValueError, match="nested"):
        encode(value)
    while isinstance(value, (list, tuple)):
        value = value[0]


def test_sets_nest_too() -> None:
    value = frozenset([1])
    for _ in range(DEPTH - 1):
        value = frozenset([value])
    assert decode(encode(value)) == value
    with pytest.raises(LimitError):
        encode(frozenset([value]))


def test_what_contains_itself() -> None:
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["self"] = [loop]
    point = Point(None, None)
    point.x = [point]
    for value in (ring, loop, point, (ring,), [ring, ring, loop]):
        with pytest.raises(LimitError, match="contains itself"):
            encode(value)


def test_bytes_nested_too_deep() -> None:
    heads = b"\xa1", b"\xb1", b"\xd1", b"\x07\x01", b"\xc1\x10", b"\x1f" + encode("test.Point")
    for head in heads:
        with pytest.raises(CorruptError, match="nested too deep"):
            decode(head * 100_000 + b"\x01")


@pytest.mark.skipif(SANITIZED, reason="frames are several times as large")
def test_endless_recursion_through_a_codec_is_an_error_of_python() -> None:
    CallingCodec.act = staticmethod(lambda: encode(CallingCodec()))
    try:
        with pytest.raises(RecursionError):
            encode(CallingCodec())
    finally:
        CallingCodec.act = staticmethod(lambda: None)

    class Endless: ...

    register_codec(Endless, "test.Endless", encode, lambda _: None)  # no Python frame between
    with pytest.raises(RecursionError):
        encode(Endless())


# -- codecs ---------------------------------------------------------------------------------------------------


def test_an_object_of_a_codec_comes_back() -> None:
    value = {"p": [Point(1, [2, Point("x", {})])], 2: (Point(None, None),)}
    assert decode(encode(value)) == value
    assert encode(Point(1, "x")) == b"\x1f" + encode("test.Point") + encode([1, "x"])
    assert decode(encode({Point(1, 2): 3})) == {Point(1, 2): 3}
    assert decode(encode({Point(1, 2)})) == {Point(1, 2)}


def test_a_subclass_has_no_codec() -> None:
    class Sub(Point): ...

    with pytest.raises(ValueTypeError, match="'Sub' cannot be stored"):
        encode(Sub(1, 2))


def test_a_codec_that_is_not_registered() -> None:
    with pytest.raises(UnknownNameError, match="no codec 'test.Nobody'.*register_codec"):
        decode(b"\x1f" + encode("test.Nobody") + encode(1))


def test_names_and_types_are_unique() -> None:
    class Other: ...

    with pytest.raises(ValueError, match=r"the codec 'test.Point' is that of .*Point"):
        register_codec(Other, "test.Point", repr, eval)
    with pytest.raises(ValueError, match="'Point' has a codec already, 'test.Point'"):
        register_codec(Point, "test.Other", repr, eval)
    with pytest.raises(UnknownNameError):
        decode(b"\x1f" + encode("test.Other") + encode(1))
    with pytest.raises(ValueTypeError):
        encode(Other())


def test_a_class_that_is_defined_again_takes_the_place_of_the_old_one() -> None:
    def define(number: int) -> type:
        class Again: ...

        register_codec(Again, "test.Again", lambda _: number, lambda n: (Again(), n))  # type: ignore[arg-type]
        return Again

    old, new = define(1), define(2)
    assert decode(encode(new()))[1] == 2
    back = decode(encode(old()))  # objects of the old class can still be stored; what comes back is a new one
    assert back[1] == 1 and type(back[0]) is new


@pytest.mark.parametrize("kind", [int, list, type(None), datetime, timezone, Decimal, UUID, ZoneInfo])
def test_a_type_with_an_encoding_of_its_own_needs_no_codec(kind: type) -> None:
    with pytest.raises(ValueError, match="has an encoding of its own"):
        register_codec(kind, "test.int", repr, eval)


@pytest.mark.parametrize(
    "arguments",
    [(1, "n", repr, eval), (Boom, 1, repr, eval), (Boom, "", repr, eval), (Boom, "n", 1, eval), (Boom, "n", repr, 1),
     (Boom, "n", repr)],
)  # fmt: skip
def test_what_is_no_codec(arguments: Any) -> None:
    with pytest.raises(TypeError):
        register_codec(*arguments)


def test_a_codec_must_make_another_type() -> None:
    class Same: ...

    register_codec(Same, "test.Same", lambda same: same, lambda x: x)
    with pytest.raises(ValueTypeError, match="must be an object of another type"):
        encode(Same())


def test_an_enum_may_have_a_codec() -> None:
    class Local(enum.Enum):
        A = 1

    register_codec(Local, "test.Local", lambda member: member.value, Local)
    assert decode(encode(Local.A)) is Local.A


def test_a_tzinfo_may_have_a_codec() -> None:
    class Hours(tzinfo):
        def __init__(self, hours: int) -> None:
            self.hours = hours

        def utcoffset(self, moment: datetime | None) -> timedelta:
            return timedelta(hours=self.hours)

    register_codec(Hours, "test.Hours", lambda zone: zone.hours, Hours)
    for value in (datetime(2000, 1, 1, tzinfo=Hours(3)), time(1, tzinfo=Hours(-3))):
        back = decode(encode(value))
        assert back == value and type(back.tzinfo) is Hours and back.tzinfo.hours == value.tzinfo.hours  # type: ignore
    assert canonical(datetime(2000, 1, 1, 3, tzinfo=Hours(3))) == canonical(datetime(2000, 1, 1, tzinfo=timezone.utc))
    # An Enum's member is stored by name, but not as a tzinfo: there it is a pickle.
    with pytest.raises(ValueTypeError, match="'ZoneEnum' cannot be stored"):
        encode(datetime(2000, 1, 1, tzinfo=ZoneEnum.A))
    moment = datetime(2000, 1, 1, tzinfo=ZoneEnum.A)
    assert encode(moment, pickle=True) == model_encode(moment) and decode(encode(ZoneEnum.A)) is ZoneEnum.A
    # What stands where a tzinfo must be, and is none.
    head = encode(datetime(2000, 1, 1, tzinfo=Hours(3)))[:15]
    with pytest.raises(CorruptError, match="neither an object nor a pickle"):
        decode(head + encode(1))
    with pytest.raises(TypeError, match="tzinfo"):
        decode(head + encode(Point(1, 2)))


# -- foreign code ---------------------------------------------------------------------------------------------


@pytest.fixture
def calls() -> Iterator[Callable[[Callable[[], Any]], None]]:
    def use(act: Callable[[], Any]) -> None:
        Calling.act = CallingCodec.act = staticmethod(act)

    yield use
    use(lambda: None)


def boom() -> Any:
    raise Boom


@pytest.mark.parametrize("wrap", [*WRAPPERS.values(), lambda inner: {inner}, lambda inner: {inner: 1}])
@pytest.mark.parametrize("kind", [Calling, CallingCodec])
def test_an_exception_of_foreign_code_passes(wrap: Any, kind: type, calls: Any) -> None:
    calls(boom)
    with pytest.raises(Boom):
        encode(wrap(kind()), pickle=True)


def test_an_exception_while_decoding_passes() -> None:
    class Bad: ...

    def refuse(_: object) -> Any:
        raise Boom

    register_codec(Bad, "test.Bad", lambda _: 1, refuse)
    for value in (Bad(), [Bad()], (1, Bad()), {1: Bad()}, {Bad()}, {Bad(): 1}, Point(1, Bad())):
        with pytest.raises(Boom):
            decode(encode(value))


def test_an_exception_of_a_hash_passes() -> None:
    class Moody:
        angry = False

        def __hash__(self) -> int:
            if Moody.angry:
                raise TypeError("not today")
            return 1

    register_codec(Moody, "test.Moody", lambda _: 1, lambda _: Moody())
    data = [encode({Moody()}), encode({Moody(): 1}), encode(frozenset({Moody()}))]
    Moody.angry = True
    for one in data:
        with pytest.raises(TypeError, match="not today") as info:
            decode(one)
        assert not isinstance(info.value, HoldfastError)


class BadZone(tzinfo):
    answer: Any = None

    def utcoffset(self, moment: datetime | None) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [Boom(), 1, timedelta(days=1), "x"])
def test_a_tzinfo_that_answers_nonsense(answer: Any) -> None:
    zone = BadZone()
    zone.answer = answer
    for value in (datetime(2000, 1, 1, tzinfo=zone), time(1, tzinfo=zone)):
        with pytest.raises((Boom, TypeError, ValueError)):
            encode(value, pickle=True)


@pytest.mark.parametrize("change", ["clear", "append", "insert", "replace"])
def test_a_list_that_changes_meanwhile(change: str, calls: Any) -> None:
    changes: dict[str, Callable[[list[Any]], Any]] = {
        "clear": lambda x: x.clear(),
        "append": lambda x: x.append([1]),
        "insert": lambda x: x.insert(0, [1]),
        "replace": lambda x: x.__setitem__(slice(None), [[i] for i in range(len(x))]),
    }
    for at in range(4):
        value: list[Any] = [[i] for i in range(4)]
        value[at] = CallingCodec()
        calls(lambda value=value: changes[change](value))
        if change == "replace":
            assert len(decode(encode(value))) == 4
            continue
        with pytest.raises(RuntimeError, match="list changed size during iteration"):
            encode(value)


@pytest.mark.parametrize("change", ["clear", "add", "pop", "exchange"])
@pytest.mark.parametrize("place", ["key", "value"])
def test_a_dict_that_changes_meanwhile(change: str, place: str, calls: Any) -> None:
    for at in range(4):
        value: dict[Any, Any] = {}
        for i in range(4):
            one = CallingCodec() if i == at else [i]
            value[one if place == "key" and i == at else (i, "key")] = one if place == "value" else [i]

        def act(value: dict[Any, Any] = value) -> None:
            if change in ("clear", "exchange"):
                count = len(value)
                value.clear()
                value.update({("new", i): i for i in range(count)} if change == "exchange" else {})
            elif change == "add":
                value["more"] = 1
            else:
                value.popitem()

        calls(act)
        if change == "exchange":  # same size: as a dict's iterator, it may not see it; it must not crash
            try:
                decode(encode(value))
            except RuntimeError:
                pass
            continue
        with pytest.raises(RuntimeError, match="dictionary changed size during iteration"):
            encode(value)


@pytest.mark.parametrize("change", ["clear", "add", "exchange"])
def test_a_set_that_changes_meanwhile(change: str, calls: Any) -> None:
    value: set[Any] = {CallingCodec(), *((i,) for i in range(10))}

    def act() -> None:
        if change in ("clear", "exchange"):
            count = len(value)
            value.clear()
            value.update(range(count) if change == "exchange" else ())
        else:
            value.add("more")

    calls(act)
    try:
        encode(value)
    except RuntimeError as error:
        assert "Set changed size during iteration" in str(error)
    else:
        # The set's own iterator does not see an exchange, nor what happens at its last member.
        assert change == "exchange" or len(value) != 11


def test_containers_change_in_another_thread() -> None:
    """Each codec's call lets the other threads run, while they change what is encoded."""
    value: dict[Any, Any] = {i: [CallingCodec()] * 3 for i in range(20)}
    stop = threading.Event()

    def change() -> None:
        rng = random.Random(1)
        while not stop.is_set():
            key = rng.randrange(30)
            value.setdefault(key, []).append(CallingCodec())
            if rng.random() < 0.5:
                value.pop(key, None)
            elif (row := value.get(key)) is not None:
                del row[1:]

    threads = [threading.Thread(target=change) for _ in range(2)]
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    done = changed = 0
    try:
        for thread in threads:
            thread.start()
        for _ in range(300 * ROUNDS):
            try:
                decode(encode(value))
                done += 1
            except RuntimeError as error:
                assert "changed size during iteration" in str(error)
                changed += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(switch)
    assert done + changed == 300 * ROUNDS


# -- hostile bytes --------------------------------------------------------------------------------------------

EXPECTED = CorruptError, UnknownNameError, ValueTypeError


def mangle(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 5)]
        elif kind == 2:
            data[at:at] = rng.randbytes(2)
        else:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.randrange(1, 9)]


def test_any_bytes_are_a_value_or_an_error(rng: random.Random) -> None:
    values = refused = 0
    whole = [encode(draw_value(rng, 2), pickle=True) for _ in range(300 * ROUNDS)]
    for _ in range(10000 * ROUNDS):
        data = bytearray(rng.choice(whole)[:300])
        mangle(rng, data)
        try:
            value = decode(data)
        except EXPECTED:
            refused += 1
            continue
        values += 1
        encode(value, pickle=True)
    assert values > 500 and refused > 5000


def test_every_truncation_is_refused(rng: random.Random) -> None:
    for _ in range(300 * ROUNDS):
        data = encode(draw_value(rng, 2), pickle=True)
        for size in range(min(len(data), 300)):
            with pytest.raises(EXPECTED):
                decode(data[:size])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "the bytes end before a value"),
        ("00", "an unknown tag"),
        ("0101", "bytes behind the value"),
        ("43 6162", "the bytes end within a value"),
        ("42 ff41", "a str that is not UTF-8"),
        ("1100", "an int that is not in its shortest form"),
        ("a2 01", "more values than there are bytes"),
        ("b2 b1 01", "more values than there are bytes"),
        ("c1 01", "more values than there are bytes"),
        ("d2 1102 1101", "a set out of order"),
        ("07 02 1102 1101", "a set out of order"),
        ("d1 b0", "cannot be hashed"),
        ("07 01 b0", "cannot be hashed"),
        ("c1 c0 01", "cannot be hashed"),
        ("c1 a1 0600 01", "cannot be hashed"),
        ("0a 03 0000000000000000 01", "neither an object nor a pickle"),
        ("0a 03 0000000000000000", "more values than there are bytes"),
    ],
)
def test_damage_has_a_reason(data: str, reason: str) -> None:
    with pytest.raises(CorruptError, match=reason) as info:
        decode(bytes.fromhex(data))
    assert isinstance(info.value, ValueError) and isinstance(info.value, HoldfastError)


def test_counts_that_lie_take_no_memory() -> None:
    """Each container may be as long as there are bytes, but not all of them together."""
    size = 200_000
    for tag in (b"\xaf", b"\xbf"):
        count = bytearray()
        number = size - 2000
        while number >= 0x80:
            count.append(number & 0x7F | 0x80)
            number >>= 7
        count.append(number)
        data = (tag + bytes(count)) * 150
        data += b"\x01" * (size - len(data))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptError):
                decode(data)
            assert tracemalloc.get_traced_memory()[1] < 10 * size
        finally:
            tracemalloc.stop()


# -- leaks ----------------------------------------------------------------------------------------------------


def failing() -> Iterator[Callable[[], Any]]:
    """Calls that fail, each somewhere else. (No unknown time zone: looking for it is an import that fails, of which the
    interpreter itself keeps something.)"""
    points = [[Point(1, "x" * 100)] * 3, {1: [Point(2, 3)], 2: (None, object())}, {"a": {1, 2, object()}}]
    for value in points[1:]:
        yield lambda value=value: encode(value)
    for data in (encode(points[0]), encode([ENUMS, 2**100, Decimal("1.5"), Fraction(1, 3), uuid.UUID(int=5)])):
        for size in range(0, len(data), 3):
            yield lambda data=data, size=size: decode(data[:size])
    yield lambda: canonical((1, math.nan, "x" * 1000))
    yield lambda: canonical([])
    yield lambda: decode(enum_bytes("test_value_oracle", "Colour", encode("BLUE")))
    yield lambda: register_codec(int, "x", repr, eval)
    yield lambda: encode([lambda: None], pickle=True)


@pytest.mark.usefixtures("light_collector")
def test_nothing_leaks(rng: random.Random) -> None:
    """Each operation by itself: all together, what the interpreter keeps for itself would hide a leak."""
    calls: list[Callable[[], Any]] = list(failing())
    for value in SMALL + [draw_value(rng, 2) for _ in range(50)]:
        data = encode(value, pickle=True)
        calls.append(lambda value=value: encode(value, pickle=True))
        calls.append(lambda data=data: decode(data, pickle=True))

    def often(call: Callable[[], Any], times: int) -> None:
        for _ in range(times):
            try:
                call()
            except Exception:  # noqa: BLE001, PERF203
                pass

    def growth(call: Callable[[], Any], times: int) -> int:
        often(call, 5)
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        often(call, times)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - start

    tracked = [holdfast, Point, Colour, Option, Size, StringEnum, *ZONES.values(), timezone.utc]
    for call in calls:
        often(call, 5)
    gc.collect()
    before = refcounts(tracked)
    tracemalloc.start()
    try:
        for call in calls:
            # A leak is one each time, and no object is smaller than 16 bytes; what caches take, they take once.
            grown = []
            for times in (100, 100, 400, 1600, 6400):
                grown.append(growth(call, times))
                if grown[-1] < 10 * times:
                    break
            else:
                raise AssertionError((grown, call.__code__.co_firstlineno))
    finally:
        tracemalloc.stop()
    assert settled_refcounts(tracked, before) == before


def test_the_core_without_memory() -> None:
    """Every allocation of the core fails once: MemoryError, nothing lost, and the same call works afterwards."""
    wide = "\xe9" * 500
    values = [
        "x" * 1000, [wide] * 3, set(range(50)), frozenset({"x" * 300, "y"}), Decimal("1.25"), {wide: Colour.RED},
        datetime(2000, 1, 1, tzinfo=timezone(timedelta(hours=1), "\u20ac" * 90)), ZONES["Test/East"], (2**5000,),
    ]  # fmt: skip
    calls: list[Callable[[], Any]] = []
    for value in values:
        data = encode(value)
        calls += [lambda value=value: encode(value), lambda data=data: decode(data)]
    calls += [lambda: canonical((wide, 1.5, frozenset(range(40)))), lambda: canonical(Decimal("1" * 2000))]
    failed_in_all = 0
    for call in calls:
        expected = call()
        for n in range(1, 1000):
            _homes.fail(n)
            try:
                result = call()
            except MemoryError:
                result = MemoryError
            failed = _homes.fail(0)
            failed_in_all += failed
            assert (result is MemoryError) if failed else exactly(result, expected)
            if failed == 0:
                break
        assert exactly(call(), expected)
    assert failed_in_all > 20


# -- exceptions -----------------------------------------------------------------------------------------------


def test_exceptions_are_holdfasts_and_the_builtin_that_fits() -> None:
    for name in holdfast.__all__:
        kind = getattr(holdfast, name)
        if not name.endswith("Error"):
            continue
        assert issubclass(kind, HoldfastError) and kind.__module__ == "holdfast" and kind.__doc__
        assert kind is HoldfastError or len(kind.__bases__) == 2
        back = pickle.loads(pickle.dumps(kind("why")))
        assert type(back) is kind and back.args == ("why",)
    assert isinstance(holdfast.FullError(), MemoryError) and isinstance(holdfast.AbsentError(), FileNotFoundError)


# -- interpreters, memory -------------------------------------------------------------------------------------

INTERPRETERS = """
import sys
from test_subinterpreters import PRELUDE
exec(PRELUDE)
WORK = '''
import sys
sys.path[:0] = PATH
import enum, uuid
from datetime import datetime, timezone, timedelta
from decimal import Decimal
from fractions import Fraction
import holdfast
from holdfast import _homes, register_codec
class Point:
    def __init__(self, x):
        self.x = x
register_codec(Point, "p", lambda p: p.x, Point)
values = [1, 2**100, "x", datetime(2000, 1, 1, tzinfo=timezone(timedelta(hours=1), "n")), Decimal("1.50"),
          Fraction(1, 3), uuid.UUID(int=3), [1, {"a": {2}}], timedelta(1), Point(1)]
data = [_homes.encode(value) for value in values]
for _ in range(20):
    back = [_homes.decode(one) for one in data]
    assert back[:-1] == values[:-1] and back[-1].x == 1
try:
    _homes.decode(b"\\\\xff")
except holdfast.CorruptError:
    pass
answer = (id(holdfast.CorruptError), [one.hex() for one in data])
'''.replace("PATH", repr(sys.path))
"""


def in_interpreters(code: str) -> str:
    return check_python(INTERPRETERS + code, timeout=120).strip()


def test_each_interpreter_has_its_own_codecs_and_exceptions() -> None:
    out = in_interpreters("""
rooms = [interpreters.create() for _ in range(3)]
answers = [ask(room, WORK) for room in rooms]
exec(WORK)
answers.append(answer)
assert len({a[0] for a in answers}) == 4 and len({tuple(a[1]) for a in answers}) == 1
for room in rooms:
    interpreters.destroy(room)
assert [_homes.decode(one) for one in data][:-1] == values[:-1]
print("apart")
""")
    assert out == "apart"


def test_interpreters_come_and_go() -> None:
    """The first one to import datetime is gone when the others use it."""
    out = in_interpreters("""
for _ in range(6):
    room = interpreters.create()
    ask(room, WORK)
    interpreters.destroy(room)
exec(WORK)
room = interpreters.create()
ask(room, WORK)
print("left open")
""")
    assert out == "left open"


def test_the_module_is_collected_when_it_is_dropped() -> None:
    out = check_python("""
        import gc, sys, weakref
        def import_and_drop():
            from holdfast import _homes
            class Point: pass
            keeps = lambda p: _homes
            _homes.register_codec(Point, "p", keeps, keeps)
            _homes.decode(_homes.encode([{1: 2.5}, __import__("decimal").Decimal(1)]))
            kept = [weakref.ref(_homes), weakref.ref(_homes.CorruptError), weakref.ref(Point)]
            for name in [name for name in sys.modules if name.startswith("holdfast")]:
                del sys.modules[name]
            return kept
        alive = []
        for _ in range(10):
            alive += import_and_drop()
            gc.collect()
        gc.collect()
        print(sum(ref() is not None for ref in alive))
    """)
    assert out.strip() == "0"


def test_python_without_memory() -> None:
    done = check_python((HERE / "nomemory_values.py").read_text(), timeout=300)
    survived = [int(line.split()[-1]) for line in done.splitlines()]
    assert len(survived) > 20 and min(survived) > 0
