"""CPython's own tests of mappings, where the standard library's tests are installed, run against Cask.

What differs, and is not run:
    keys that are no values of Python's own types, or whose methods fail: Cask knows keys by their bytes
    repr, of a map that is in itself among them: repr(c) says where it is
    fromkeys, which would need a path; copy gives a dict
    order, and what comes back as the very object that was put
"""

import shutil
import tempfile
import unittest
import weakref
from typing import Any

import pytest

mapping_tests: Any = pytest.importorskip("test.mapping_tests")

from holdfast import Cask  # noqa: E402


class Opened(Cask[Any, Any]):
    """A Cask that is made as dict is, gone with its last reference."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        folder = tempfile.mkdtemp(prefix="hf-pytest-cask-")
        super().__init__(f"{folder}/cask", background=False)
        weakref.finalize(self, shutil.rmtree, folder)
        self.update(*args, **kwargs)


class Basic(mapping_tests.BasicTestMappingProtocol):  # type: ignore[misc, name-defined]
    type2test = Opened


class Whole(mapping_tests.TestMappingProtocol):  # type: ignore[misc, name-defined]
    type2test = Opened

    # They ask for fromkeys().
    test_fromkeys = None
    # A copy is a dict.
    test_copy = None
    # Two maps of the same entries give them out in the same order.
    test_popitem = None
    # The list that was put is the one that comes back.
    test_setdefault = None


Basic.__test__ = Whole.__test__ = True


def test_that_they_were_found() -> None:
    names = unittest.TestLoader().getTestCaseNames(Whole)
    assert len(names) >= 12 and "test_update" in names and "test_pop" in names
