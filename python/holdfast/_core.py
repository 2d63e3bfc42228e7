"""The C core, in the build that fits this processor.

The trie counts bits at every step, and what a processor has for that decides how fast it is. So the core is compiled once
for each CPU level, and the choice is made here, once (see src/base/cpu.h).
"""

from importlib import import_module as _import_module

from holdfast import _cpu

_level = _import_module(f"holdfast._core_{_cpu.level}")
globals().update({name: value for name, value in vars(_level).items() if not name.startswith("__")})
__version__ = _level.__version__
