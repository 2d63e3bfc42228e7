"""`python -m holdfast shared`: which SharedMaps there are, what is in one; removes those that were left behind."""

import argparse
from collections.abc import Iterable

from . import _command, _homes
from ._command import printable, size_text, table, text_of, time_text
from .shared import SharedInfo, SharedMap, list_shared


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "shared", help="show and remove maps in shared memory", description="Maps in shared memory."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    ls = actions.add_parser("ls", help="list them", description="List the SharedMaps that this user may read.")
    ls.set_defaults(run=run_ls)

    info = actions.add_parser("info", help="what is in one", description="Say what is in a SharedMap.")
    info.add_argument("names", metavar="NAME", nargs="+")
    info.add_argument("--check", action="store_true", help="verify everything in it as well")
    info.set_defaults(run=run_info)

    rm = actions.add_parser(
        "rm",
        help="remove some",
        description="Remove SharedMaps by their names. One that a process has open is left alone.",
    )
    rm.add_argument("names", metavar="NAME", nargs="*")
    rm.add_argument("--all-unused", action="store_true", help="every one of this user's that no process has open")
    rm.add_argument("--force", action="store_true", help="also what is in use, which goes on, and what a creator who died has left")
    rm.set_defaults(run=run_rm)


def complain(text: object) -> int:
    return _command.complain("shared", text)


def user_text(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def run_ls(args: argparse.Namespace) -> int:
    rows = [("NAME", "SIZE", "OWNER", "MODE", "CREATED", "IN USE")]
    for info in list_shared():
        rows.append(
            (
                printable(info.name),
                size_text(info.size),
                user_text(info.owner),
                f"{info.mode:04o}",
                time_text(info.created),
                "yes" if info.in_use else "no",
            )
        )
    if len(rows) == 1:
        print("There is no SharedMap.")
    else:
        print("\n".join(table(rows)))
    return 0


def run_info(args: argparse.Namespace) -> int:
    known = {info.name: info for info in list_shared()}
    status = 0
    for name in args.names:
        try:
            # What is only looked at is not unpickled, and may be another's.
            with SharedMap[object, object](name, create=False, pickle=False, timeout=10) as shared:
                print("\n".join(describe(shared, known.get(name))))
                if args.check:
                    shared.check()
                    print("  check      no fault found")
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            status = complain(text_of(error))
    return status


def describe(shared: SharedMap[object, object], info: SharedInfo | None) -> Iterable[str]:
    stats = shared.stats()
    limit = f", at most {size_text(stats.max_size)}" if stats.max_size else ""
    yield printable(shared.name)
    yield f"  entries    {stats.entries:,}"
    yield f"  size       {size_text(stats.size)}, of which {size_text(stats.used)} in use{limit}"
    yield f"  version    {stats.version:,}"
    yield f"  readers    {stats.readers} slots taken, this command's among them"
    if stats.writers_died or stats.readers_died:
        yield f"  died       {stats.writers_died} writers, {stats.readers_died} readers"
    if info is not None:
        yield f"  owner      {user_text(info.owner)}, {info.mode:04o}"
        yield f"  created    {time_text(info.created)}"
        yield f"  in use     {'yes' if info.in_use else 'no'}"


def run_rm(args: argparse.Namespace) -> int:
    import os

    if not args.names and not args.all_unused:
        complain("rm needs a NAME, or --all-unused")
        return 2
    known = {info.name: info for info in list_shared()}
    names = list(dict.fromkeys(args.names))
    if args.all_unused:
        names += [
            info.name
            for info in known.values()
            if not info.in_use and info.owner == os.geteuid() and info.name not in names
        ]
    status = 0
    for name in names:
        info = known.get(name)
        if info is None and not args.force:
            status = complain(f"there is no SharedMap {name!r}")
        elif info is not None and info.in_use and not args.force:
            status = complain(f"{name!r} is in use: --force removes its name all the same")
        else:
            try:
                _homes.shared_unlink(name)
                print(f"removed {printable(name)}")
            except (OSError, ValueError) as error:
                status = complain(text_of(error))
    return status
