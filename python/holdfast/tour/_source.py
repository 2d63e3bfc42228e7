"""The input of the tour: Python files, and how often each identifier stands in each of them."""

import os
import re
import tokenize
from collections import Counter
from collections.abc import Mapping
from keyword import iskeyword
from typing import NamedTuple


class Source(NamedTuple):
    file: str  # relative to the root, with slashes
    counts: Mapping[str, int]  # identifier -> how many times


class Skipped(NamedTuple):
    file: str
    reason: str


# The tokens of Python as far as identifiers need them, so that nothing inside a string or a comment,
# and no tail of a number such as 0xff or 1e5, is taken for one. tokenize says the same, which a test
# checks, and takes eight times as long. An f-string is a string here, as it is for tokenize before 3.12.
_TOKEN = re.compile(
    r"""
      (?: [rRbBuUfF]{0,2}
          (?: \"""   [^"\\]*  (?: (?: \\. | "(?!"") )  [^"\\]*  )* \"""
            | '''   [^'\\]*  (?: (?: \\. | '(?!'') )  [^'\\]*  )* '''
            | "     [^"\\\n]*  (?: \\.  [^"\\\n]*  )* "
            | '     [^'\\\n]*  (?: \\.  [^'\\\n]*  )* '
          ) )
    | \# [^\n]*
    | \d [\w.]*
    | ( [^\W\d] \w* )
    """,
    re.VERBOSE | re.DOTALL,
)


def identifiers(text: str) -> Counter[str]:
    counts = Counter(_TOKEN.findall(text))
    for word in [word for word in counts if not word or iskeyword(word)]:
        del counts[word]
    return counts


def find_files(root: str | os.PathLike[str]) -> tuple[list[str], list[Skipped]]:
    """Every .py file below root, sorted, relative to it; and the folders that cannot be listed."""
    skipped: list[Skipped] = []

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(os.path.relpath(error.filename, root), error.strerror or str(error)))

    found = []
    for folder, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [f for f in folders if f not in ("site-packages", "dist-packages", "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names if name.endswith(".py")]
    return sorted(file.replace(os.sep, "/") for file in found), skipped


def read(root: str | os.PathLike[str], file: str) -> Source | Skipped:
    """The file in the encoding it declares (PEP 263), UTF-8 where it declares none."""
    path = os.path.join(root, file)
    try:
        with tokenize.open(path) as stream:
            return Source(file, identifiers(stream.read()))
    except OSError as error:
        return Skipped(file, error.strerror or str(error))
    except UnicodeDecodeError as error:
        return Skipped(file, f"not valid {error.encoding}: byte {error.start}")
    except SyntaxError as error:
        return Skipped(file, str(error).replace(f" for {path!r}", ""))
