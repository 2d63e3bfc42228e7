"""What SharedMap, Cask and their snapshots have in common: views, and what a dict has besides its look-ups.

The classes that are derived from these have look-ups and iterators in C: `_iter_values()` and `__holdfast_items__()`, which run
over one version. None of the special methods here is one that those define.
"""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from ._core import MISSING

_K = TypeVar("_K")
_V = TypeVar("_V")
_K2 = TypeVar("_K2")
_V2 = TypeVar("_V2")

# -- views ----------------------------------------------------------------------------------------------------


class StoredKeys(KeysView[_K]):
    __slots__ = ()
    _mapping: Any

    @property
    def mapping(self) -> Mapping[_K, Any]:
        return cast("Mapping[_K, Any]", self._mapping)

    def __iter__(self) -> Iterator[_K]:
        return iter(self._mapping)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        return not any(element in self for element in other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


class StoredValues(ValuesView[_V]):
    __slots__ = ()
    _mapping: Any

    @property
    def mapping(self) -> Mapping[Any, _V]:
        return cast("Mapping[Any, _V]", self._mapping)

    def __iter__(self) -> Iterator[_V]:
        return cast("Iterator[_V]", self._mapping._iter_values())

    def __contains__(self, value: object) -> bool:
        return any(value is one or value == one for one in self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


class StoredItems(ItemsView[_K, _V]):
    __slots__ = ()
    _mapping: Any

    @property
    def mapping(self) -> Mapping[_K, _V]:
        return cast("Mapping[_K, _V]", self._mapping)

    def __iter__(self) -> Iterator[tuple[_K, _V]]:
        return cast("Iterator[tuple[_K, _V]]", self._mapping.__holdfast_items__())

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        key, wanted = item
        value = self._mapping.get(key, MISSING)
        return value is not MISSING and bool(value is wanted or value == wanted)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        return not any(element in self for element in other)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


# -- mappings -------------------------------------------------------------------------------------------------


if TYPE_CHECKING:

    class _Generic(Generic[_K, _V]):
        __slots__ = ()

else:

    class _Generic:
        # typing remembers for ever what typing.Generic was subscripted with, and with it this module.
        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


class StoredMapping(_Generic[_K, _V]):
    """Of maps and of snapshots."""

    __slots__ = ()

    def __holdfast_items__(self) -> Iterator[tuple[_K, _V]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def copy(self) -> dict[_K, _V]:
        """A dict of what is in it now."""
        return dict(self.__holdfast_items__())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return len(self) == len(other) and dict(self.__holdfast_items__()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]
    __reversed__ = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class StoredMutableMapping(StoredMapping[_K, _V]):
    """Of maps."""

    __slots__ = ()

    def __or__(self, other: Mapping[_K2, _V2]) -> dict[_K | _K2, _V | _V2]:
        if not isinstance(other, Mapping):
            return NotImplemented
        both: dict[_K | _K2, _V | _V2] = dict(self.__holdfast_items__())
        both.update(other.items())
        return both

    def __ror__(self, other: Mapping[_K2, _V2]) -> dict[_K | _K2, _V | _V2]:
        if not isinstance(other, Mapping):
            return NotImplemented
        both: dict[_K | _K2, _V | _V2] = dict(other.items())
        both.update(self.__holdfast_items__())
        return both

    def __ior__(self, other: Mapping[_K, _V] | Iterable[tuple[_K, _V]]) -> Self:  # type: ignore[misc]
        cast(Any, self).update(other)
        return self
