"""Memory that runs out: each operation, with each allocation it makes failing, one after the other.

The operands are as they were, the error is MemoryError, nothing leaks, and the same call works afterwards.
Every operation runs in a process of its own, so that a crash names it (see nomemory_worker.py).
"""

from __future__ import annotations

import re

import pytest

from operations import OPERATIONS
from support import HERE, run_python

NAMES = list(OPERATIONS)
GROUP = 6
GROUPS = [NAMES[i : i + GROUP] for i in range(0, len(NAMES), GROUP)]
# These need no memory of their own: they look, or find the answer already there.
FREE = {
    "m[k]", "get", "get(absent)", "in", "contains", "set what is there", "discard", "pop(absent, default)",
    "m | m", "clear", "copy", "get_in", "== far", "== near", "!=", "== dict", "hash", "sizeof",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["probe", "atomic", "pending"])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group[0]} to {group[-1]}")
def test_every_allocation_fails_once(group: list[str], kind: str) -> None:
    done = run_python((HERE / "nomemory_worker.py").read_text(), kind, *group, timeout=300)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    survived = dict(re.findall(r"^(.*)\.\.\. (\d+) failures survived$", done.stdout, re.MULTILINE))
    assert list(survived) == group
    # The hook was at work: whoever allocates has failed at least once.
    assert [name for name in group if name not in FREE and int(survived[name]) == 0] == []
