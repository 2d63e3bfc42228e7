"""Python objects to encoded values and back, written from docs/format/value.md and not from the C code.

`test_value_oracle.py` holds the two to each other. What C's callers will do in C one day is done here in
Python: which offset a datetime has, whether its fold matters, what a member of an IntEnum equals.
"""

from __future__ import annotations

import enum
import io
import pickle
import struct
import sys
import tempfile
import zoneinfo
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

MICROSECOND = timedelta(microseconds=1)
SAFETY = [SafeUUID.unknown, SafeUUID.safe, SafeUUID.unsafe]


# -- zones of our own, so that no time zone database is needed ------------------------------------------------


def zone_file(changes: list[tuple[datetime, int]], first: int) -> bytes:
    """The time zone database's file of a zone whose offset, `first` seconds in the beginning, changes at these moments
    (UTC)."""
    offsets = sorted({first, *(offset for _, offset in changes)})
    times = [int(moment.replace(tzinfo=timezone.utc).timestamp()) for moment, _ in changes]
    data = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, len(changes), len(offsets), 4)
    data += struct.pack(f">{len(times)}l", *times) + bytes(offsets.index(offset) for _, offset in changes)
    # The first ttinfo that is not daylight saving time is what is before the first change.
    data += b"".join(struct.pack(">lBB", offset, offset != first, 0) for offset in offsets) + b"ABC\0"
    return data


def make_zone(key: str, changes: list[tuple[datetime, int]], first: int) -> ZoneInfo:
    return ZoneInfo.from_file(io.BytesIO(zone_file(changes, first)), key=key)


HOUR = 3600
SPRING, AUTUMN = datetime(2000, 3, 26, 1), datetime(2000, 10, 29, 1)
ZONE_FILES = {
    "Test/East": zone_file([(SPRING, 2 * HOUR), (AUTUMN, HOUR)], HOUR),
    "Test/Other": zone_file([(SPRING, 2 * HOUR), (AUTUMN, HOUR)], HOUR),  # the same, and another key
    "Test/Half": zone_file([(SPRING, HOUR + 1800), (AUTUMN, HOUR)], HOUR),
    "Test/UTC": zone_file([], 0),
}

# Where ZoneInfo(key) finds them, until the process ends.
ZONE_PATH = tempfile.TemporaryDirectory(prefix="holdfast-zones-")
for key, data in ZONE_FILES.items():
    path = Path(ZONE_PATH.name, key)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
zoneinfo.reset_tzpath([ZONE_PATH.name, *zoneinfo.TZPATH])
ZONES = {key: ZoneInfo(key) for key in ZONE_FILES}


# -- encoding -------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def counted(tag: int, tag_long: int, count: int) -> bytes:
    return bytes([tag + count]) if count < tag_long - tag else bytes([tag_long]) + varint(count)


def encode_int(number: int) -> bytes:
    size = 0
    while not -(1 << 8 * size - 1 if size else 0) <= number < (1 << 8 * size - 1 if size else 1):
        size += 1
    return counted(0x10, 0x19, size) + number.to_bytes(size, "little", signed=True)


def encode_str(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return counted(0x40, 0x7F, len(data)) + data


def encode_fixed_zone(zone: timezone) -> bytes:
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
    return (offset // MICROSECOND).to_bytes(5, "little", signed=True) + (encode_str(name[0]) if name else b"\x01")


def fold_matters(moment: datetime) -> bool:
    return moment.utcoffset() != moment.replace(fold=not moment.fold).utcoffset()


def encode_moment(moment: time | datetime) -> bytes:
    zone, offset = moment.tzinfo, moment.utcoffset()
    us = ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1000000 + moment.microsecond
    form = moment.fold << 2
    behind = b""
    if type(zone) is timezone:
        form |= 1
        behind = encode_fixed_zone(zone)
    elif zone is not None:
        form |= 2 if isinstance(zone, ZoneInfo) else 3
        if offset is not None:
            form |= 8
            behind = (offset // MICROSECOND).to_bytes(5, "little", signed=True)
            if isinstance(moment, datetime) and fold_matters(moment):
                form |= 16
        behind += encode_str(zone.key) if isinstance(zone, ZoneInfo) else encode_pickle(zone)
    if isinstance(moment, datetime):
        us += (moment.toordinal() - 1) * 86400 * 1000000
        return bytes([0x0A, form]) + us.to_bytes(8, "little") + behind
    return bytes([0x09, form]) + us.to_bytes(5, "little") + behind


def encode_delta(delta: timedelta) -> bytes:
    days = delta.days.to_bytes(4, "little", signed=True)
    return b"\x0b" + days + delta.seconds.to_bytes(3, "little") + delta.microseconds.to_bytes(3, "little")


def encode_decimal(number: Decimal) -> bytes:
    sign, digits, exponent = number.as_tuple()
    if exponent == "F":
        return bytes([0x0E, 1 | sign << 2])
    text = "".join(map(str, digits)).lstrip("0")
    text = "0" * (len(text) % 2) + text
    pairs = bytes(int(text[i : i + 2]) for i in range(0, len(text), 2))
    behind = varint(len(pairs)) + pairs
    if exponent in ("n", "N"):
        return bytes([0x0E, (2 if exponent == "n" else 3) | sign << 2]) + behind
    assert isinstance(exponent, int)
    zigzag = exponent << 1 if exponent >= 0 else (-exponent << 1) - 1
    return bytes([0x0E, sign << 2]) + varint(zigzag) + behind


def encode_pickle(value: object) -> bytes:
    data = pickle.dumps(value, 5)
    return b"\x20" + varint(len(data)) + data


def base_of(member: enum.Enum) -> Any:
    """What a member equals because its class derives from that type; None for a plain Enum."""
    base = type(member)._member_type_  # type: ignore[attr-defined]
    if base is object:
        return None
    if base is date:
        return date(member.year, member.month, member.day)  # type: ignore[attr-defined]
    makers: dict[type, Callable[[Any], Any]] = {
        int: int.__int__,
        str: str.__str__,
        float: float.__float__,
        tuple: lambda values: tuple.__getitem__(values, slice(None)),
    }
    return makers[base](member)


def encode_enum(member: enum.Enum) -> bytes:
    kind, base = type(member), base_of(member)
    which = encode_int(member._value_) if isinstance(member, enum.Flag) else encode_str(str(member.name))
    names = encode_str(kind.__module__) + encode_str(kind.__qualname__) + which
    return b"\x1d" + names if base is None else b"\x1e" + names + encode(base)


def encode_sized(tag: int, data: bytes) -> bytes:
    return bytes([tag]) + varint(len(data)) + data


ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x01",
    bool: lambda truth: b"\x03" if truth else b"\x02",
    int: encode_int,
    float: lambda real: b"\x04" + struct.pack("<d", real),
    complex: lambda number: b"\x05" + struct.pack("<dd", number.real, number.imag),
    str: encode_str,
    bytes: lambda data: counted(0x80, 0x9F, len(data)) + data,
    bytearray: lambda data: encode_sized(0x06, bytes(data)),
    tuple: lambda values: counted(0xA0, 0xAF, len(values)) + b"".join(map(encode, values)),
    frozenset: lambda values: b"\x07" + varint(len(values)) + b"".join(sorted(map(encode, values))),
    list: lambda values: counted(0xB0, 0xBF, len(values)) + b"".join(map(encode, values)),
    dict: lambda pairs: counted(0xC0, 0xCF, len(pairs)) + b"".join(encode(k) + encode(v) for k, v in pairs.items()),
    set: lambda values: counted(0xD0, 0xDF, len(values)) + b"".join(sorted(map(encode, values))),
    date: lambda day: b"\x08" + day.toordinal().to_bytes(3, "little"),
    time: encode_moment,
    datetime: encode_moment,
    timedelta: encode_delta,
    timezone: lambda zone: b"\x0c" + encode_fixed_zone(zone),
    ZoneInfo: lambda zone: b"\x0d" + encode_str(zone.key),
    Decimal: encode_decimal,
    Fraction: lambda ratio: b"\x0f" + encode_int(ratio.numerator) + encode_int(ratio.denominator),
    UUID: lambda uuid: bytes([0x1A + SAFETY.index(uuid.is_safe)]) + uuid.bytes,
}


def encode(value: object) -> bytes:
    if isinstance(value, enum.Enum):
        return encode_enum(value)
    return ENCODERS.get(type(value), encode_pickle)(value)


# -- decoding -------------------------------------------------------------------------------------------------


class Decoder:
    """One value from bytes that are one."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert size <= len(self.data) - self.at
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.number(1)
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def count(self, found: int, tag: int, tag_long: int) -> int:
        return found - tag if found < tag_long else self.varint()

    def fixed_zone(self) -> timezone:
        offset, name = self.number(5, signed=True) * MICROSECOND, self.value()
        return timezone(offset) if name is None else timezone(offset, name)

    def moment(self, tag: int) -> time | datetime:
        form, us = self.number(1), self.number(5 if tag == 0x09 else 8)
        zone: tzinfo | None = None
        if form & 8:
            self.number(5)  # asked of the zone again
        if form & 3:
            zone = self.fixed_zone() if form & 3 == 1 else ZONES[self.value()] if form & 3 == 2 else self.value()
        if tag == 0x09:
            return (datetime.min + us * MICROSECOND).time().replace(tzinfo=zone, fold=form >> 2 & 1)
        return (datetime.min + us * MICROSECOND).replace(tzinfo=zone, fold=form >> 2 & 1)

    def decimal(self) -> Decimal:
        form = self.number(1)
        sign, kind = form >> 2, form & 3
        if kind == 1:
            return Decimal((sign, (0,), "F"))
        zigzag = self.varint() if kind == 0 else 0
        exponent = zigzag >> 1 if zigzag % 2 == 0 else -(zigzag + 1 >> 1)
        digits = tuple(map(int, "".join(f"{pair:02}" for pair in self.take(self.varint())).lstrip("0")))
        if kind == 0:
            return Decimal((sign, digits or (0,), exponent))
        return Decimal((sign, digits, "nN"[kind - 2]))  # type: ignore[arg-type]

    def member(self, has_base: bool) -> Any:
        module, name, which = self.value(), self.value(), self.value()
        if has_base:
            self.value()
        kind: Any = sys.modules[module]
        for part in name.split("."):
            kind = getattr(kind, part)
        return kind[which] if isinstance(which, str) else kind(which)

    def value(self) -> Any:
        tag = self.number(1)
        if 0x10 <= tag <= 0x19:
            return self.number(self.count(tag, 0x10, 0x19), signed=True)
        if 0x40 <= tag <= 0x7F:
            return self.take(self.count(tag, 0x40, 0x7F)).decode("utf-8", "surrogatepass")
        if 0x80 <= tag <= 0x9F:
            return self.take(self.count(tag, 0x80, 0x9F))
        if 0xA0 <= tag <= 0xAF:
            return tuple(self.value() for _ in range(self.count(tag, 0xA0, 0xAF)))
        if 0xB0 <= tag <= 0xBF:
            return [self.value() for _ in range(self.count(tag, 0xB0, 0xBF))]
        if 0xC0 <= tag <= 0xCF:
            return {self.value(): self.value() for _ in range(self.count(tag, 0xC0, 0xCF))}
        if 0xD0 <= tag <= 0xDF:
            return {self.value() for _ in range(self.count(tag, 0xD0, 0xDF))}
        if 0x1A <= tag <= 0x1C:
            return UUID(bytes=self.take(16), is_safe=SAFETY[tag - 0x1A])
        simple: dict[int, Callable[[], Any]] = {
            0x01: lambda: None,
            0x02: lambda: False,
            0x03: lambda: True,
            0x04: lambda: struct.unpack("<d", self.take(8))[0],
            0x05: lambda: complex(*struct.unpack("<dd", self.take(16))),
            0x06: lambda: bytearray(self.take(self.varint())),
            0x07: lambda: frozenset(self.value() for _ in range(self.varint())),
            0x08: lambda: date.fromordinal(self.number(3)),
            0x09: lambda: self.moment(tag),
            0x0A: lambda: self.moment(tag),
            0x0B: lambda: timedelta(self.number(4, signed=True), self.number(3), self.number(3)),
            0x0C: self.fixed_zone,
            0x0D: lambda: ZONES[self.value()],
            0x0E: self.decimal,
            0x0F: lambda: Fraction(self.value(), self.value()),
            0x1D: lambda: self.member(False),
            0x1E: lambda: self.member(True),
            0x20: lambda: pickle.loads(self.take(self.varint())),
        }
        return simple[tag]()


def decode(data: bytes) -> Any:
    decoder = Decoder(data)
    value = decoder.value()
    assert decoder.at == len(data)
    return value
