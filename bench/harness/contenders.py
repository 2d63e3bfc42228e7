"""The contenders: how each of them spells the operations that the rows are written in.

A row is Python source with {placeholders}; a contender fills them in with its own syntax. So every
contender runs the same loop, nothing stands between the loop and the operation, and each has its own
code object (the interpreter specialises code objects: one that is shared would favour who ran last).

Variables that the syntax may use: m a map, k a key, v a value, d a dict, pairs a list of pairs,
a and b two maps, t a transient. Statements leave their result in m, or in w for a version beside m.
A placeholder that a contender lacks means that it does not offer the operation.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from textwrap import indent
from typing import Any

PLACEHOLDER = re.compile(r"\{(\w+)\}")


class NotOffered(Exception):
    """The contender has no such operation."""


@dataclass(frozen=True)
class Contender:
    name: str
    module: str
    dist: str | None  # whose version is reported; None: it is part of the interpreter
    syntax: Mapping[str, str]
    imports: Mapping[str, str] = field(default_factory=dict)  # name in the source -> attribute of module
    in_place: bool = False  # a write changes m itself: rows give it its own copy
    write_copies: bool = False  # a write copies the whole map
    visits_all: bool = False  # the collector visits all of every version, not once what they share
    write_us: float = 0.0  # rough cost of a write to a large map, only to leave out what would take minutes

    def trouble(self) -> str | None:
        """What it lacks besides its module."""
        return None

    @cached_property
    def namespace(self) -> dict[str, Any]:
        module = importlib.import_module(self.module)
        return {name: getattr(module, attribute) for name, attribute in self.imports.items()}

    def compile(self, source: str, args: tuple[str, ...], label: str) -> Callable[..., Any]:
        """A function of its own with this contender's syntax filled in."""

        def fill(match: re.Match[str]) -> str:
            if match[1] not in self.syntax:
                raise NotOffered(match[1])
            return self.syntax[match[1]]

        body = PLACEHOLDER.sub(fill, source).strip("\n")
        text = f"def run({', '.join(args)}):\n{indent(body, '    ')}\n"
        scope = dict(self.namespace)
        exec(compile(text, f"<{label}, {self.name}>", "exec"), scope)
        run: Callable[..., Any] = scope["run"]
        return run

    def evaluate(self, expression: str, **variables: Any) -> Any:
        return self.compile(f"return {expression}", tuple(variables), "prepare")(**variables)

    def make(self, d: dict[Any, Any]) -> Any:
        """A map of the contents of d that shares nothing with any other."""
        return self.evaluate("{from_dict}", d=d)

    def changed(self, m: Any, pairs: list[tuple[Any, Any]]) -> Any:
        """m with the pairs set, one after the other; m stays as it is."""
        if self.in_place:
            m = self.make(m)
        return self.compile("for k, v in pairs:\n    {put}\nreturn m", ("m", "pairs"), "prepare")(m, pairs)


def _persistent(**syntax: str) -> dict[str, str]:
    """What follows from `set` and `remove` where these return a new map."""
    common = {
        "get": "m[k]",
        "get_default": "m.get(k)",
        "has": "k in m",
        "keys": "m",
        "items": "m.items()",
        "equal": "a == b",
    }
    if "set" in syntax:
        common |= {"put": "m = " + syntax["set"], "version": "w = " + syntax["set"]}
    if "remove" in syntax:
        common |= {"drop": "m = " + syntax["remove"]}
    return common | syntax


DICT = Contender(
    name="dict",
    module="builtins",
    dist=None,
    in_place=True,
    syntax=_persistent(
        empty="{}",
        from_dict="dict(d)",
        from_pairs="dict(pairs)",
        put="m[k] = v",
        drop="del m[k]",
        version="w = m.copy(); w[k] = v",
        merge="a | b",
        diff="a.items() ^ b.items()",
        open="t = m",
        tput="t[k] = v",
        close="m = t",
    ),
)

HOLDFAST = Contender(
    name="holdfast",
    module="holdfast",
    dist="holdfast",
    imports={"Map": "Map"},
    syntax=_persistent(
        empty="Map()",
        from_dict="Map(d)",
        from_pairs="Map(pairs)",
        set="m.set(k, v)",
        remove="m.delete(k)",
        merge="a.update(b)",
        diff="a.diff(b)",
        open="t = m.mutate()",
        tput="t[k] = v",
        close="m = t.finish()",
    ),
)

PEERS = (
    Contender(
        name="immutables",
        module="immutables",
        dist="immutables",
        imports={"Map": "Map"},
        syntax=_persistent(
            empty="Map()",
            from_dict="Map(d)",
            from_pairs="Map(pairs)",
            set="m.set(k, v)",
            remove="m.delete(k)",
            merge="a.update(b)",
            open="t = m.mutate()",
            tput="t[k] = v",
            close="m = t.finish()",
        ),
        write_us=6,
    ),
    Contender(
        name="rpds-py",
        module="rpds",
        dist="rpds-py",
        imports={"HashTrieMap": "HashTrieMap"},
        syntax=_persistent(
            empty="HashTrieMap()",
            from_dict="HashTrieMap(d)",
            from_pairs="HashTrieMap(pairs)",
            set="m.insert(k, v)",
            remove="m.remove(k)",
            merge="a.update(b)",
        ),
        write_us=5,
    ),
    Contender(
        name="pyrsistent",
        module="pyrsistent",
        dist="pyrsistent",
        imports={"pmap": "pmap"},
        syntax=_persistent(
            empty="pmap()",
            from_dict="pmap(d)",
            from_pairs="pmap(pairs)",
            set="m.set(k, v)",
            remove="m.remove(k)",
            merge="a.update(b)",
            open="t = m.evolver()",
            tput="t[k] = v",
            close="m = t.persistent()",
        ),
        visits_all=True,
        write_us=100,
    ),
    Contender(
        name="pypersistent",
        module="pypersistent",
        dist="pypersistent",
        imports={"PersistentDict": "PersistentDict"},
        # No transient, and pairs only by way of a dict.
        syntax=_persistent(
            empty="PersistentDict()",
            from_dict="PersistentDict.from_dict(d)",
            from_pairs="PersistentDict.from_dict(dict(pairs))",
            set="m.set(k, v)",
            remove="m.delete(k)",
            merge="a.merge(b)",
        ),
        write_us=10,
    ),
    Contender(
        name="frozendict",
        module="frozendict",
        dist="frozendict",
        imports={"frozendict": "frozendict"},
        syntax=_persistent(
            empty="frozendict()",
            from_dict="frozendict(d)",
            from_pairs="frozendict(pairs)",
            set="m.set(k, v)",
            remove="m.delete(k)",
            merge="a | b",
            diff="a.items() ^ b.items()",
        ),
        write_copies=True,
    ),
)

ALL = (HOLDFAST, DICT, *PEERS)
BY_NAME = {contender.name: contender for contender in ALL}

# The bare loop, measured with the rows whose loop overhead is worth knowing.
LOOP = Contender(name="(loop)", module="builtins", dist=None, syntax={"get": "pass", "get_default": "pass", "has": "pass"})


def installed(contender: Contender) -> tuple[str, str | None]:
    """(version, None) or ("", why it cannot be used). Imports it: call it in a child process."""
    try:
        contender.namespace
    except ModuleNotFoundError as error:
        return "", f"not installed ({error})"
    except Exception as error:  # anything can go wrong in the import of a foreign package; it is reported
        return "", f"import failed: {type(error).__name__}: {error}"
    if trouble := contender.trouble():
        return "", trouble
    if contender.dist is None:
        return "", None
    try:
        return importlib.metadata.version(contender.dist), None
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(contender.module), "__version__", "unknown")), None
