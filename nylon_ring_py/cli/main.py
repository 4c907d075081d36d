"""The command `nylon-ring` and its arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nylon_ring_py.build.builder import ABIS, build_plugin
from nylon_ring_py.build.errors import BuildError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments, by default those of the process.

    Returns:
        The exit code: 0, or 1 when nothing could be built. Wrong arguments exit with 2.
    """
    arguments = _parser().parse_args(argv)
    source, object_name = _split_object(arguments.source)
    try:
        result = build_plugin(
            Path(source), object_name=object_name, out=arguments.out, abi=arguments.abi, python=arguments.python
        )
    except (BuildError, OSError) as error:
        print(f"nylon-ring: error: {error}", file=sys.stderr)
        return 1
    for warning in result.warnings:
        print(f"nylon-ring: warning: {warning}", file=sys.stderr)
    plugin, entries = result.manifest["plugin"], result.manifest["entries"]
    count = f"{len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"
    print(f"{result.path}: plugin {plugin['name']} {plugin['version']}, {count}, {result.size} bytes")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nylon-ring", description="Tools for nylon-ring plugins in Python.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build-plugin",
        help="make a shared object that any nylon-ring host loads",
        description="Makes a shared object that any nylon-ring host loads. No compiler is needed.",
    )
    build.add_argument(
        "source", metavar="FILE_OR_PACKAGE[:OBJECT]", help="the .py file or the package's folder, and its Plugin object"
    )
    build.add_argument("-o", "--out", type=Path, metavar="OUT.so", help="file to write (default: NAME.so right here)")
    build.add_argument("--abi", choices=ABIS, default="v1", help="layout of the plugin's functions (default: v1)")
    build.add_argument(
        "--python", default="", metavar="EXE", help="the Python that will run it (default: the running one)"
    )
    return parser


def _split_object(source: str) -> tuple[str, str]:
    """Returns path and object name; a path that exists as it stands has none."""
    path, colon, name = source.rpartition(":")
    if colon and name.isidentifier() and not Path(source).exists():
        return path, name
    return source, ""
