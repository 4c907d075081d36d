"""The command `nylon-ring` and its arguments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nylon_ring_py.build.builder import ABIS, build_plugin
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import read_payload

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments, by default those of the process.

    Returns:
        The exit code: 0, or 1 when nothing could be built or read. Wrong arguments exit with 2.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except (BuildError, OSError) as error:
        print(f"nylon-ring: error: {error}", file=sys.stderr)
        return 1
    return 0


def _build(arguments: argparse.Namespace) -> None:
    source, object_name = split_object(arguments.source)
    result = build_plugin(
        Path(source), object_name=object_name, out=arguments.out, abi=arguments.abi, python=arguments.python
    )
    for warning in result.warnings:
        print(f"nylon-ring: warning: {warning}", file=sys.stderr)
    plugin, entries = result.manifest["plugin"], result.manifest["entries"]
    count = f"{len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"
    print(f"{result.path}: plugin {plugin['name']} {plugin['version']}, {count}, {result.size} bytes")


def _manifest(arguments: argparse.Namespace) -> None:
    print(json.dumps(read_payload(arguments.plugin).manifest, indent=2))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nylon-ring", description="Tools for nylon-ring plugins in Python.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build-plugin",
        help="make a shared object that any nylon-ring host loads",
        description="Makes a shared object that any nylon-ring host loads. No compiler is needed.",
    )
    build.set_defaults(run=_build)
    build.add_argument(
        "source", metavar="FILE_OR_PACKAGE[:OBJECT]", help="the .py file or the package's folder, and its Plugin object"
    )
    build.add_argument("-o", "--out", type=Path, metavar="OUT.so", help="file to write (default: NAME.so right here)")
    build.add_argument("--abi", choices=ABIS, default="v1", help="layout of the plugin's functions (default: v1)")
    build.add_argument(
        "--python", default="", metavar="EXE", help="the Python that will run it (default: the running one)"
    )
    manifest = commands.add_parser(
        "manifest",
        help="print what a built plugin says of itself, as JSON",
        description="Prints what a built plugin says of itself, as JSON: its name and version, each entry with its "
        "kind and the thread it runs on, and the Python it was built for. Nothing of the plugin is run.",
    )
    manifest.set_defaults(run=_manifest)
    manifest.add_argument("plugin", type=Path, metavar="PLUGIN.so", help="a file made by build-plugin")
    return parser


def split_object(source: str) -> tuple[str, str]:
    """Returns path and object name; a path that exists as it stands has none."""
    path, colon, name = source.rpartition(":")
    if colon and name.isidentifier() and not Path(source).exists():
        return path, name
    return source, ""
