"""Maps that never change, and maps that many processes share.

A `Map` is a dict that never changes. `m.set(key, value)` gives a new Map and leaves `m` as it was;
the two share every part that is the same, so a version costs what it changed, and all of them can be
kept:

    >>> from holdfast import Map
    >>> old = Map(host="localhost", port=80)
    >>> new = old.set("port", 8080)
    >>> old["port"], new["port"]
    (80, 8080)
    >>> old.diff(new)
    [Change(key='port', old=80, new=8080)]

Maps are hashable, safe to share between threads, and pickle with their sharing. For many edits at a
time there is `with m.mutate() as t: ...`; for two sets of edits made apart, `Map.merge3`.

A `SharedMap` is a dict in shared memory, for any number of processes at once, without a server:

    >>> from holdfast import SharedMap
    >>> with SharedMap("holdfast-doc", create=True) as shared:
    ...     shared["visits"] = 1
    ...     shared.incr("visits")                # atomic, whoever else is at it
    ...     with shared.transaction():           # all of it at once, or nothing of it
    ...         shared.update(host="localhost", port=80)
    ...     shared.unlink()
    2

`python -m holdfast tour` shows all of it at work on the source of the standard library.
"""

from ._core import (
    MISSING,
    Change,
    Conflict,
    Map,
    MapItems,
    MapKeys,
    MapValues,
    MissingType,
    TransientMap,
    __version__,
    footprint,
)
from ._homes import (
    AbsentError,
    BrokenError,
    BusyError,
    ClosedError,
    CorruptError,
    DeniedError,
    ExistsError,
    FormatError,
    FullError,
    HoldfastError,
    KeyTypeError,
    KeyValueError,
    LimitError,
    LostError,
    NameFormatError,
    NetworkError,
    NotCaskError,
    NotRegionError,
    ReadOnlyError,
    SlotsError,
    StorageError,
    TransactionError,
    UnknownNameError,
    ValueTypeError,
    WaitTimeoutError,
    register_codec,
)
from .shared import SharedInfo, SharedMap, SharedSnapshot, SharedStats, list_shared

__all__ = [
    "MISSING",
    "AbsentError",
    "BrokenError",
    "BusyError",
    "Change",
    "ClosedError",
    "Conflict",
    "CorruptError",
    "DeniedError",
    "ExistsError",
    "FormatError",
    "FullError",
    "HoldfastError",
    "KeyTypeError",
    "KeyValueError",
    "LimitError",
    "LostError",
    "Map",
    "MapItems",
    "MapKeys",
    "MapValues",
    "MissingType",
    "NameFormatError",
    "NetworkError",
    "NotCaskError",
    "NotRegionError",
    "ReadOnlyError",
    "SharedInfo",
    "SharedMap",
    "SharedSnapshot",
    "SharedStats",
    "SlotsError",
    "StorageError",
    "TransactionError",
    "TransientMap",
    "UnknownNameError",
    "ValueTypeError",
    "WaitTimeoutError",
    "__version__",
    "footprint",
    "list_shared",
    "register_codec",
]
