"""`python -m nylon_ring_py.host`: call a plugin by hand, or drive it for the conformance suite."""

from __future__ import annotations

import argparse
import sys

from nylon_ring_py.host._drive import drive
from nylon_ring_py.host._host import Host
from nylon_ring_py.host.errors import HostError, RefusedError, status_name
from nylon_ring_py.host.reply import Reply


def _show(reply: Reply) -> None:
    print(f"{status_name(reply.status).removeprefix('Status.')}: {reply.data.decode(errors='backslashreplace')}")


def _headers(lines: list[str]) -> list[tuple[str | bytes, str | bytes]]:
    pairs = [line.partition(":") for line in lines]
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def _call(arguments: argparse.Namespace) -> int:
    asked = {name: getattr(arguments, name) for name in ("method", "path", "query")}
    with Host.load(arguments.plugin, abi=arguments.abi) as host:
        headers = _headers(arguments.header)
        if arguments.raw:
            reply = host.call_raw(arguments.entry, arguments.body, timeout_s=arguments.timeout)
        else:
            reply = host.call(arguments.entry, arguments.body, headers=headers, timeout_s=arguments.timeout, **asked)
        _show(reply)
        return 0 if reply.ok else 1


def _stream(arguments: argparse.Namespace) -> int:
    ok = True
    with (
        Host.load(arguments.plugin, abi=arguments.abi) as host,
        host.call_stream(arguments.entry, arguments.body) as frames,
    ):
        for data in arguments.send:
            frames.send(data)
        if arguments.close:
            frames.close_input()
        for frame in frames:
            _show(frame)
            ok = frame.ok
    return 0 if ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nylon_ring_py.host", description=(__doc__ or "").partition(": ")[2]
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    call = verbs.add_parser("call", help="call an entry and print its reply")
    stream = verbs.add_parser("stream", help="call a stream entry and print its frames")
    verbs.add_parser("drive", help="the driver of the conformance suite: commands on stdin, answers on stdout")
    for each in (call, stream):
        each.add_argument("plugin", help="the plugin's file")
        each.add_argument("entry")
        each.add_argument("--abi", choices=("v1", "v1-raw", "v2"), help="without: chosen, see docs/python-host.md")
        each.add_argument("--body", default="")
    for name in ("--method", "--path", "--query"):
        call.add_argument(name, default="")
    call.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    call.add_argument("--raw", action="store_true", help="without a request")
    call.add_argument("--timeout", type=float, metavar="SECONDS")
    stream.add_argument("--send", action="append", default=[], metavar="FRAME", help="may be given again")
    stream.add_argument("--close", action="store_true", help="close the input after the frames")
    return parser


def main() -> int:
    """Run what the command line asks for; 0 when the plugin answered well."""
    arguments = _parser().parse_args()
    if arguments.verb == "drive":
        return drive()
    try:
        return _call(arguments) if arguments.verb == "call" else _stream(arguments)
    except RefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except HostError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
