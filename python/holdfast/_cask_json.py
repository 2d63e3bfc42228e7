"""Stored keys and values as JSON, and back: what `python -m holdfast dump` and `load` do. docs/cask.md has the format.

    encoded bytes --to_json--> JSON --json.loads, from_json--> the same encoded bytes

What JSON has itself is written as it is: None, bools, ints, finite floats, strs, lists, and dicts whose keys are strs that do not
begin with a dollar sign. Everything else is an object with one key that does: {"$tuple": [1, 2]}. What cannot be written
so that exactly the same bytes come back, and what cannot be made into an object here (a pickle, an Enum whose module is not
imported), is {"$encoded": its bytes in base64}: nothing is lost, nothing is run, nothing is imported.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import json
import math
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

from . import _homes


def to_json(encoded: bytes) -> str:
    """As text."""
    try:
        text = json.dumps(_shown(_homes.decode(encoded)), allow_nan=False)
        if _homes.encode(_made(json.loads(text))) == encoded:
            return text
    except Exception:  # whatever it is that it needs and that is not here
        pass
    return json.dumps({"$encoded": _base64(encoded)})


def from_json(shown: Any) -> bytes:
    """Of what json.loads() made. ValueError where that is nothing that to_json() gives."""
    if isinstance(shown, dict) and "$encoded" in shown:
        return base64.b64decode(_text(_only(shown)), validate=True)
    try:
        return _homes.encode(_made(shown))
    except (ArithmeticError, struct.error) as error:
        raise ValueError(f"{error or type(error).__name__}") from error


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


# -- out ------------------------------------------------------------------------------------------------------


def _shown(thing: Any) -> Any:
    kind = type(thing)
    if thing is None or kind in (bool, int, str):
        return thing
    if kind is list:
        return [_shown(one) for one in thing]
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in thing):
            return {key: _shown(value) for key, value in thing.items()}
        return {"$dict": [[_shown(key), _shown(value)] for key, value in thing.items()]}
    if kind is float:
        return thing if math.isfinite(thing) else {"$float": struct.pack(">d", thing).hex()}
    if kind in (datetime.datetime, datetime.time):
        return _shown_time(thing)
    name, show = _SHOW[kind]
    return {name: show(thing)}


def _shown_time(thing: datetime.datetime | datetime.time) -> Any:
    shown: dict[str, Any] = {f"${type(thing).__name__}": thing.isoformat()}
    if type(thing.tzinfo) is zoneinfo.ZoneInfo:
        shown = {f"${type(thing).__name__}": thing.replace(tzinfo=None).isoformat(), "zone": thing.tzinfo.key}
    if thing.fold:
        shown["fold"] = 1
    return shown


_SHOW: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytes: ("$bytes", _base64),
    bytearray: ("$bytearray", _base64),
    complex: ("$complex", lambda thing: [_shown(thing.real), _shown(thing.imag)]),
    tuple: ("$tuple", lambda thing: [_shown(one) for one in thing]),
    set: ("$set", lambda thing: [_shown(one) for one in thing]),
    frozenset: ("$frozenset", lambda thing: [_shown(one) for one in thing]),
    datetime.date: ("$date", datetime.date.isoformat),
    datetime.timedelta: ("$timedelta", lambda thing: [thing.days, thing.seconds, thing.microseconds]),
    decimal.Decimal: ("$decimal", str),
    fractions.Fraction: ("$fraction", str),
    uuid.UUID: ("$uuid", str),
}

# -- in -------------------------------------------------------------------------------------------------------


def _made(shown: Any) -> Any:
    if isinstance(shown, list):
        return [_made(one) for one in shown]
    if not isinstance(shown, dict):
        return shown
    names = [key for key in shown if key.startswith("$")]
    if not names:
        return {key: _made(value) for key, value in shown.items()}
    if names in (["$datetime"], ["$time"]):
        return _made_time(names[0], **{key.lstrip("$"): value for key, value in shown.items()})
    make = _MAKE.get(names[0])
    if make is None:
        raise ValueError(f"{names[0]!r} is no type that is known")
    return make(_only(shown))


def _only(shown: dict[str, Any]) -> Any:
    if len(shown) != 1:
        raise ValueError(f"an object with {' and '.join(map(repr, shown))} in it")
    return next(iter(shown.values()))


def _text(shown: Any) -> str:
    if not isinstance(shown, str):
        raise ValueError(f"{shown!r} should be a string")
    return shown


def _many(shown: Any) -> list[Any]:
    if not isinstance(shown, list):
        raise ValueError(f"{shown!r} should be an array")
    return [_made(one) for one in shown]


def _made_time(name: str, *, zone: str | None = None, fold: int = 0, **rest: Any) -> Any:
    kind = datetime.datetime if name == "$datetime" else datetime.time
    if list(rest) != [name[1:]] or fold not in (0, 1):
        raise ValueError(f"{name!r} has 'zone' and 'fold' beside it, and nothing else")
    made = kind.fromisoformat(_text(rest[name[1:]]))
    if zone is not None:
        made = made.replace(tzinfo=zoneinfo.ZoneInfo(_text(zone)))
    return made.replace(fold=fold)


def _made_float(shown: Any) -> Any:
    return struct.unpack(">d", bytes.fromhex(_text(shown)))[0]


def _made_complex(shown: Any) -> complex:
    real, imaginary = _many(shown)
    # Added up, a -0.0 or a nan would be another one.
    return complex(real, imaginary)


_MAKE: dict[str, Callable[[Any], Any]] = {
    "$dict": lambda shown: {key: value for key, value in map(_many, shown)},
    "$float": _made_float,
    "$complex": _made_complex,
    "$bytes": lambda shown: base64.b64decode(_text(shown), validate=True),
    "$bytearray": lambda shown: bytearray(base64.b64decode(_text(shown), validate=True)),
    "$tuple": lambda shown: tuple(_many(shown)),
    "$set": lambda shown: set(_many(shown)),
    "$frozenset": lambda shown: frozenset(_many(shown)),
    "$date": lambda shown: datetime.date.fromisoformat(_text(shown)),
    "$timedelta": lambda shown: datetime.timedelta(*_many(shown)),
    "$decimal": lambda shown: decimal.Decimal(_text(shown)),
    "$fraction": lambda shown: fractions.Fraction(_text(shown)),
    "$uuid": lambda shown: uuid.UUID(_text(shown)),
}
