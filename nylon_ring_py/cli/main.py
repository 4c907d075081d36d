"""The command `nylon-ring` and its arguments."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nylon_ring_py._trust import VARIABLE, SignatureError, read_keys, shown, trusted_keys
from nylon_ring_py.build.builder import ABIS, build_plugin, write_plugin
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import read_payload
from nylon_ring_py.build.sign import read_private_key, sign_image, verify_plugin

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments, by default those of the process.

    Returns:
        The exit code: 0, or 1 when nothing could be built or read, or a file is not to be trusted. Wrong arguments exit
        with 2.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except (BuildError, SignatureError, OSError) as error:
        print(f"nylon-ring: error: {error}", file=sys.stderr)
        return 1
    return 0


def _build(arguments: argparse.Namespace) -> None:
    source, object_name = split_object(arguments.source)
    result = build_plugin(
        Path(source),
        object_name=object_name,
        out=arguments.out,
        abi=arguments.abi,
        python=arguments.python,
        sign=arguments.sign,
    )
    for warning in result.warnings:
        print(f"nylon-ring: warning: {warning}", file=sys.stderr)
    plugin, entries = result.manifest["plugin"], result.manifest["entries"]
    count = f"{len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"
    signed = ", signed" if arguments.sign is not None else ""
    print(f"{result.path}: plugin {plugin['name']} {plugin['version']}, {count}, {result.size} bytes{signed}")


def _manifest(arguments: argparse.Namespace) -> None:
    print(json.dumps(read_payload(arguments.plugin).manifest, indent=2))


def _sign(arguments: argparse.Namespace) -> None:
    try:
        signed = sign_image(arguments.plugin.read_bytes(), read_private_key(arguments.key))
    except BuildError as error:
        raise BuildError(f"{arguments.plugin}: {error}") from None
    write_plugin(arguments.plugin, signed)
    print(f"{arguments.plugin}: signed")


def _verify(arguments: argparse.Namespace) -> None:
    keys = read_keys(arguments.keys.read_text(), str(arguments.keys)) if arguments.keys is not None else trusted_keys()
    if keys is None:
        raise SignatureError(f"there is nobody to trust: give --keys FILE, or set {VARIABLE}")
    try:
        key = verify_plugin(arguments.plugin.read_bytes(), keys)
    except (BuildError, SignatureError) as error:
        raise type(error)(f"{arguments.plugin}: {error}") from None
    print(f"{arguments.plugin}: signed with the key {shown(key)}, and unchanged since")


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
    build.add_argument(
        "--sign", type=Path, metavar="KEYFILE", help="sign it with the Ed25519 private key in this PEM file"
    )
    built = argparse.ArgumentParser(add_help=False)
    built.add_argument("plugin", type=Path, metavar="PLUGIN.so", help="a file made by build-plugin")
    sign = commands.add_parser(
        "sign",
        parents=[built],
        help="sign a built plugin, such as one that was stripped",
        description="Signs a built plugin, in place of any signature it has. Nothing of the plugin is run.",
    )
    sign.set_defaults(run=_sign)
    sign.add_argument("key", type=Path, metavar="KEYFILE", help="a PEM file with an Ed25519 private key")
    verify = commands.add_parser(
        "verify",
        parents=[built],
        help="check who signed a built plugin, before a host loads it",
        description="Checks that a built plugin is signed with a trusted key, and that not a byte of the file was "
        "changed since. Nothing of the plugin is run.",
    )
    verify.set_defaults(run=_verify)
    verify.add_argument(
        "--keys", type=Path, metavar="FILE", help=f"PEM file with the public keys to trust (default: {VARIABLE})"
    )
    manifest = commands.add_parser(
        "manifest",
        parents=[built],
        help="print what a built plugin says of itself, as JSON",
        description="Prints what a built plugin says of itself, as JSON: its name and version, each entry with its "
        "kind and the thread it runs on, and the Python it was built for. Nothing of the plugin is run.",
    )
    manifest.set_defaults(run=_manifest)
    return parser


def split_object(source: str) -> tuple[str, str]:
    """Returns path and object name; a path that exists as it stands has none."""
    path, colon, name = source.rpartition(":")
    if colon and name.isidentifier() and not Path(source).exists():
        return path, name
    return source, ""
