"""The command line: `python -m holdfast COMMAND`.

A command is a module with `add_parser(subparsers)`, which sets `run` to a function from the parsed
arguments to an exit status: 0 well, 1 the command found something wrong, 2 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__, _cask_command, _shared_command, tour

COMMANDS = (tour, _shared_command, _cask_command)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m holdfast", description="Holdfast: maps that never change, maps that many processes share, and maps on disk."
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    args = parser.parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has gone. What is still buffered has nowhere to go, and the
        # interpreter's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
