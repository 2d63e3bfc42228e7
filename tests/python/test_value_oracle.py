"""The C codec and its canonical keys, asked what Python knows: do values come back, and which keys are one?

The C code comes in through ctypes, from a small library that the build makes for this test. What is one key is
asked of a dict: thousands of keys of all types, drawn so that many are equal across types, must be put
together by their canonical bytes exactly as a dict puts them together.
"""

from __future__ import annotations

import ctypes
import enum
import math
import random
import re
import struct
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID, SafeUUID

import pytest

from support import TORTURE
from value_encoding import ZONES, decode, encode, make_zone

BUILD = Path(__file__).resolve().parents[2] / "build"


class Library:
    """value_oracle.c"""

    def __init__(self) -> None:
        path = BUILD / "tests/c/libvalue_oracle.so"
        if not path.exists():
            raise AssertionError(f"{path} is not there: run `make build`")
        self.c = ctypes.CDLL(str(path))
        self.c.value_hash.restype = ctypes.c_uint64
        self.c.value_status.restype = ctypes.c_char_p

    def bytes_of(self, function: Any, data: bytes) -> bytes:
        """What the function makes of the bytes; ValueError with the status' name where it fails."""
        room = 2 * len(data) + 10000
        out, size = ctypes.create_string_buffer(room), ctypes.c_size_t()
        status = function(data, ctypes.c_size_t(len(data)), out, ctypes.c_size_t(room), ctypes.byref(size))
        if status < 0:
            raise ValueError(self.c.value_status(status).decode())
        return out.raw[: size.value]

    def copy(self, data: bytes) -> bytes:
        return self.bytes_of(self.c.value_copy, data)

    def key(self, value: object) -> bytes:
        return self.bytes_of(self.c.value_key, encode(value))

    def hash(self, form: bytes, seed: int) -> int:
        return int(self.c.value_hash(form, ctypes.c_size_t(len(form)), ctypes.c_uint64(seed)))

    def describe(self, data: bytes) -> str:
        out = ctypes.create_string_buffer(200)
        self.c.value_describe(data, ctypes.c_size_t(len(data)), out, ctypes.c_size_t(len(out)))
        return out.value.decode("ascii")


@pytest.fixture(scope="module")
def c() -> Library:
    return Library()


# -- enums and time zones of every kind -----------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    GREEN = "a"
    ALSO_RED = 1  # another name of RED


class Shade(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Word(str, enum.Enum):
    A = "a"
    B = "b"


class StringEnum(enum.StrEnum):
    A = "a"


class Real(float, enum.Enum):
    HALF = 0.5
    ONE = 1.0


class Pair(tuple, enum.Enum):  # type: ignore[type-arg]
    ONE_A = (1, "a")


class Day(date, enum.Enum):
    FIRST = 2000, 1, 1


class Option(enum.Flag):
    X = 1
    Y = 2


class Number(enum.IntFlag):
    X = 1
    Y = 2


class Outer:
    class Colour(enum.Enum):
        RED = 1


class NoOffset(tzinfo):
    """One that does not know."""

    def utcoffset(self, moment: datetime | None) -> None:
        return None

    dst = utcoffset  # type: ignore[assignment]

    def tzname(self, moment: datetime | None) -> str:
        return "?"


class OneHour(tzinfo):
    """A fixed offset, and not a timezone."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "one"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return 1


ENUMS = [
    *Colour, *Shade, *Size, *Word, *StringEnum, *Real, *Pair, *Day, *Option, Option.X | Option.Y, Option(0),
    *Number, Number.X | Number.Y, Number(0), Outer.Colour.RED,
]  # fmt: skip

# -- drawing keys: few different ones of each kind, so that many are equal ------------------------------------

NUMBERS = [
    0, 1, 2, 3, 5, 7, 10, 25, 100, 127, 128, 255, 256, 1000, 32767, 32768, 10**6, 2**31, 2**32, 2**52, 2**53,
    2**53 + 1, 2**59, 2**62, 2**63 - 1, 2**63, 2**63 + 1, 2**64, 10**18, 10**22, 10**23, 2**100, 10**100, 2**1023,
    10**308, 2**1024, 10**400, 10**6000,
]  # fmt: skip
DIVISORS = [1, 1, 1, 2, 3, 4, 5, 8, 10, 20, 64, 100, 1024, 2**52, 2**60, 10**15, 10**22, 2**1074, 3**40, 10**350]
FLOATS = [0.0, -0.0, 0.1, 0.5, 1 / 3, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, math.inf, -math.inf]


def ratio(rng: random.Random) -> Fraction:
    if rng.random() < 0.1:
        return Fraction(rng.choice(FLOATS[:-2]))
    number = rng.choice(NUMBERS) + rng.choice([0, 0, 0, 1, -1])
    return Fraction(number * rng.choice([1, -1]), rng.choice(DIVISORS))


def exact_decimal(number: Fraction) -> Decimal | None:
    """The Decimal that equals it, if it has few digits."""
    twos_and_fives = number.denominator
    places = 0
    while twos_and_fives % 2 == 0 or twos_and_fives % 5 == 0:
        twos_and_fives //= math.gcd(twos_and_fives, 10)
        places += 1
    if twos_and_fives != 1:
        return None
    digits = tuple(map(int, decimal_text(abs(number.numerator) * (10**places // number.denominator))))
    return Decimal((int(number < 0), digits, -places))


def decimal_text(number: int) -> str:
    """str(number), which Python refuses where it is long."""
    chunks = []
    while number >= 10**1000:
        number, rest = divmod(number, 10**1000)
        chunks.append(f"{rest:01000}")
    return str(number) + "".join(reversed(chunks))


def as_decimal(rng: random.Random, number: Fraction) -> Decimal | None:
    exact = exact_decimal(number)
    if exact is None or rng.random() < 0.5:
        return exact
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    zeros = rng.randrange(4)
    return Decimal((sign, digits + (0,) * zeros, exponent - zeros))


def as_float(number: Fraction) -> float | None:
    try:
        return float(number)  # rounded, which makes other numbers that nearly are
    except OverflowError:
        return None


def draw_number(rng: random.Random) -> Any:
    number = ratio(rng)
    real = as_float(number)
    forms: list[Any] = [number, as_decimal(rng, number), real, rng.choice(FLOATS)]
    if number.denominator == 1:
        forms += [int(number), int(number)]
    if real is not None:
        forms += [complex(real, rng.choice([0.0, -0.0, 0.0, 1.0])), Decimal(real), Fraction(real)]
    if number in (0, 1):
        forms += [bool(number)] * 3
    forms += [Decimal("inf"), Decimal("-inf"), complex(math.inf, 0)] if rng.random() < 0.05 else []
    return rng.choice([form for form in forms if form is not None])


OFFSETS = [timedelta(0), timedelta(hours=1), timedelta(hours=-1), timedelta(hours=2), timedelta(minutes=30),
           timedelta(microseconds=1), timedelta(seconds=-1, microseconds=1), timedelta(hours=23)]  # fmt: skip
INSTANTS = [
    datetime(2000, 3, 26, 1), datetime(2000, 10, 29, 1), datetime(2000, 1, 1), datetime(1, 1, 1),
    datetime(9999, 12, 31),
]  # fmt: skip


def draw_zone(rng: random.Random) -> tzinfo | None:
    return rng.choice([
        None, timezone.utc, timezone(rng.choice(OFFSETS)), timezone(rng.choice(OFFSETS), "name"),
        *ZONES.values(), NoOffset(), OneHour(),
    ])  # fmt: skip


def draw_datetime(rng: random.Random) -> datetime:
    near = timedelta(hours=rng.randrange(-4, 5), minutes=rng.choice([0, 0, 30]), microseconds=rng.choice([0, 0, 1]))
    try:
        moment = rng.choice(INSTANTS) + near
    except OverflowError:
        moment = INSTANTS[0]
    return moment.replace(tzinfo=draw_zone(rng), fold=rng.randrange(2))


def draw_time(rng: random.Random) -> time:
    return time(rng.choice([0, 1, 2, 23]), rng.choice([0, 30]), 0, rng.choice([0, 0, 1, 999999]), draw_zone(rng),
                fold=rng.randrange(2))  # fmt: skip


def draw_text(rng: random.Random) -> str:
    return "".join(rng.choices("ab1\0é\ud83d\ude00😀\udcff", k=rng.randrange(4))) * rng.choice([1, 1, 1, 40])


def draw_uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.randrange(3), is_safe=rng.choice(list(SafeUUID)))


def draw_delta(rng: random.Random) -> timedelta:
    return rng.choice([timedelta.min, timedelta.max, rng.choice(OFFSETS), timedelta(rng.randrange(-2, 3))])


ATOMS: list[Callable[[random.Random], Any]] = [
    *[draw_number] * 6,
    draw_text,
    lambda rng: draw_text(rng).encode("utf-8", "surrogatepass"),
    lambda rng: None,
    *[draw_datetime] * 4,
    draw_time,
    draw_time,
    lambda rng: rng.choice(INSTANTS).date(),
    lambda rng: timezone(rng.choice(OFFSETS), *rng.choice([(), ("a",), ("b",)])),
    lambda rng: rng.choice(list(ZONES.values())),
    draw_delta,
    draw_uuid,
    *[lambda rng: rng.choice(ENUMS)] * 2,
]


def draw_key(rng: random.Random, depth: int = 2) -> Any:
    if depth == 0 or rng.random() < 0.7:
        return rng.choice(ATOMS)(rng)
    members = [draw_key(rng, depth - 1) for _ in range(rng.randrange(4))]
    return tuple(members) if rng.random() < 0.5 else frozenset(members)


# -- tests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_keys_are_one_where_a_dict_says_so(c: Library, rng: random.Random, depth: int) -> None:
    pythons: dict[Any, int] = {}
    forms: dict[bytes, int] = {}
    equal = 0
    for i in range(6000 * (50 if TORTURE else 1)):
        key = draw_key(rng, depth)
        form = c.key(key)
        expected, found = pythons.setdefault(key, i), forms.setdefault(form, i)
        equal += expected != i
        if expected != found:
            others = [other for other, number in pythons.items() if number in (expected, found)]
            raise AssertionError(f"{key!r} is {form.hex()}, and not as a dict has it: {others!r}")
    assert equal > 1000 and len(forms) > 300


def test_equal_keys_of_two_types_were_among_them(rng: random.Random) -> None:
    """Holds the test above to account: the draw meets what is hard."""
    types: dict[Any, set[str]] = {}
    for _ in range(20000):
        key = draw_key(rng, 0)
        types.setdefault(key, set()).add("Enum" if isinstance(key, enum.Enum) else type(key).__name__)
    met = {(a, b) for together in types.values() for a in together for b in together}
    numbers = ["int", "float", "complex", "Decimal", "Fraction", "bool", "Enum"]
    missing = {(a, b) for a in numbers for b in numbers if a != b} - met
    assert not missing, missing
    others = ["str", "bytes", "date", "datetime", "time", "timedelta", "timezone", "ZoneInfo", "UUID", "NoneType"]
    for other in others:
        assert (other, other) in met, other


def test_hashes_follow_the_form_and_the_seed(c: Library, rng: random.Random) -> None:
    forms = {c.key(draw_key(rng)) for _ in range(3000)}
    for seed in (0, 1, 2**64 - 1):
        assert len({c.hash(form, seed) for form in forms}) == len(forms)
    assert c.hash(c.key(1), 5) == c.hash(c.key(Decimal("1.00")), 5) != c.hash(c.key(1), 6)


def exactly(a: Any, b: Any) -> bool:
    """The same value of the same type, down to what == does not look at."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (float, complex)):
        return all(struct.pack("<d", x) == struct.pack("<d", y) for x, y in ((a.real, b.real), (a.imag, b.imag)))
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(exactly, a, b))
    if isinstance(a, dict):
        return exactly(list(a.items()), list(b.items()))
    if isinstance(a, (frozenset, set)):
        return len(a) == len(b) and all(any(exactly(x, y) for y in b) for x in a)
    if isinstance(a, (datetime, time)):
        fields = a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold
        same_zone = exactly(a.tzinfo, b.tzinfo) if isinstance(a.tzinfo, timezone) else a.tzinfo == b.tzinfo
        return fields and (same_zone or type(a.tzinfo) is type(b.tzinfo) is NoOffset)
    if isinstance(a, timezone):
        return repr(a) == repr(b)
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, UUID):
        return a == b and a.is_safe is b.is_safe
    return bool(a == b)


SPECIAL = [
    *[struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in (0x7FF8000000000123, 0xFFF8000000000000)],
    complex(math.nan, -0.0), Decimal("NaN"), Decimal("-sNaN123"), Decimal("NaN0"), Decimal("-0E-12"),
    Decimal("1E+999999"),
    Decimal("1234567890" * 200), bytearray(b"abc"), (bytearray(), frozenset({math.nan})), 2**100000, -(2**100000),
    tuple(range(1000)), frozenset(range(1000)), "x" * 100000, b"x" * 100000, [1, {"a": 2}],
    [], {}, set(), {"b": [1, {2: {3}}], "a": None}, {1, "x", (2,)}, [[]] * 20, {i: {i} for i in range(20)},
    *ENUMS,
]  # fmt: skip


def test_values_come_back_exactly(c: Library, rng: random.Random) -> None:
    values = SPECIAL + [draw_key(rng, 3) for _ in range(3000 * (50 if TORTURE else 1))]
    for value in values:
        data = encode(value)
        assert c.copy(data) == data, value
        assert exactly(decode(data), value), value
        text = c.describe(data)
        assert text and "damaged" not in text, text


def test_the_examples_of_the_documentation(c: Library) -> None:
    """Each is an encoding; where the value is written as Python, it is that value's."""
    page = (BUILD.parent / "docs/format/value.md").read_text(encoding="utf-8")
    examples = page.split("## Examples")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*) \| `([0-9a-f ]+)` \|$", examples, re.M)
    kinds = date, datetime, time, timedelta, timezone, Decimal, Fraction, UUID
    names: dict[str, Any] = {kind.__name__: kind for kind in kinds}
    names["ZoneInfo"] = lambda key: make_zone(key, [], 0)
    evaluated = 0
    for value, digits in rows:
        data = bytes.fromhex(digits)
        assert c.copy(data) == data, value
        code = re.fullmatch("`(.*)`", value)
        if code is None or re.match("Colour|Flags|Size", code[1]):
            continue
        assert encode(eval(code[1], names)) == data, value
        evaluated += 1
    assert len(rows) > 30 and evaluated > 25


def test_what_cannot_be_a_key(c: Library) -> None:
    nans = math.nan, complex(0, math.nan), Decimal("nan"), Decimal("snan")
    for value in (*nans, Decimal("1E+10000"), (1, math.nan)):
        with pytest.raises(ValueError, match="HF_BAD_VALUE"):
            c.key(value)
    for other in (bytearray(), [], (1, [])):
        with pytest.raises(ValueError, match="HF_BAD_TYPE"):
            c.key(other)


class Folding(OneHour):
    """Clocks are set back once a day."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1 if moment is not None and moment.fold else 2)


def test_a_datetime_that_only_its_own_tzinfo_object_knows_cannot_be_a_key(c: Library) -> None:
    with pytest.raises(ValueError, match="HF_BAD_TYPE"):
        c.key(datetime(2000, 1, 1, tzinfo=Folding()))


def test_the_limit_of_decimals_is_where_it_is_said_to_be(c: Library) -> None:
    assert c.key(Decimal("1E+9999")) == c.key(10**9999) == c.key(Fraction(10**9999))
    assert c.key(Decimal("1E-10000")) == c.key(Fraction(1, 10**10000))
    assert c.key(Decimal("0E+99999")) == c.key(0)
    assert c.key(Decimal("1" + "0" * 20000 + "E-20000")) == c.key(1)


def test_nine_digits_of_every_length(c: Library, rng: random.Random) -> None:
    """Decimals against Fractions of the same text, up to the limit."""
    for places in [*range(0, 60), 100, 323, 324, 325, 1000, 5000, 9990]:
        digits = rng.randrange(10**9)
        assert c.key(Decimal((0, tuple(map(int, str(digits))), -places))) == c.key(Fraction(digits, 10**places))
        assert c.key(Decimal((1, tuple(map(int, str(digits))), places))) == c.key(-digits * 10**places)
