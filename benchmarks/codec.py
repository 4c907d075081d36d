"""What a codec costs: a handler with a typed payload beside its libraries called directly, in this process.

    python benchmarks/codec.py [--rounds N] [--calls N] [--json FILE]

The body is an order of 1 KiB. Ours is what the core calls for ``def f(order: Order) -> Order`` with codec="json", given
a request. Beside it the same work by hand, given the bytes: msgspec decodes and checks, msgspec or orjson encodes; the
faster of the two is what ours is held against. The rounds take turns; the table shows medians with the least and the
most. A missed target is marked and is no failure.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import orjson

from nylon_ring_py import Plugin, Request

BODY_BYTES = 1024
TARGET = 2.0
ROUNDS, CALLS = 31, 5000


class Item(msgspec.Struct):
    """A line of an order."""

    name: str
    price: int
    count: int


class Order(msgspec.Struct):
    """The payload."""

    number: int
    customer: str
    paid: bool
    items: list[Item]
    note: str


plugin = Plugin("bench")


@plugin.handle("order", codec="json")
def order(order: Order) -> Order:
    """Gives the order back."""
    return order


def make_body() -> bytes:
    """An order of exactly `BODY_BYTES`."""
    items = [Item(f"item {i}", i * 100, i) for i in range(20)]
    short = msgspec.json.encode(Order(7, "customer", paid=True, items=items, note=""))
    return msgspec.json.encode(Order(7, "customer", paid=True, items=items, note="n" * (BODY_BYTES - len(short))))


@dataclass
class Case:
    """One way to do it, and how long a call took in each round, in nanoseconds."""

    title: str
    call: Callable[[], object]
    seen: list[float] = field(default_factory=list)

    def once(self, calls: int) -> None:
        """Measure one round."""
        call = self.call
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        self.seen.append((time.perf_counter_ns() - began) / calls)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.seen)


def all_cases(body: bytes) -> list[Case]:
    """Ours first; then what it is held against; then what no check at all would cost."""
    ours, request = plugin.entries["order"].call, Request(body=body)
    decode, encode, plain = msgspec.json.Decoder(Order).decode, msgspec.json.Encoder().encode, msgspec.to_builtins
    return [
        Case('codec="json", typed', lambda: ours(request)),
        Case("msgspec, then msgspec", lambda: encode(decode(body))),
        Case("msgspec, then orjson", lambda: orjson.dumps(decode(body), plain)),
        Case("orjson both ways, unchecked", lambda: orjson.dumps(orjson.loads(body))),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each case in a round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(arguments)
    body = make_body()
    cases = all_cases(body)
    for case in cases:
        if case.call() != body:
            print(f"bench: {case.title} does not give the order back", file=sys.stderr)
            return 1
    for number in range(options.rounds):
        for case in cases if number % 2 == 0 else reversed(cases):
            case.once(options.calls)
    print(f"Python {platform.python_version()}, a body of {len(body)} bytes, {options.rounds} rounds\n")
    for case in cases:
        least, most = min(case.seen) / 1000, max(case.seen) / 1000
        print(f"{case.title:30} {case.median / 1000:7.2f} µs  ({least:.2f} to {most:.2f})")
    direct = min(cases[1:3], key=lambda case: case.median)
    ratio = cases[0].median / direct.median
    missed = "" if ratio <= TARGET else "  MISSED"
    print(f"\n{ratio:.2f} times {direct.title}, called directly; the target is {TARGET:.0f}{missed}")
    if options.json:
        figures = {
            "body_bytes": len(body),
            "rounds_ns": {case.title: case.seen for case in cases},
            "ours_ns": cases[0].median,
            "direct_ns": direct.median,
            "ratio": ratio,
        }
        options.json.write_text(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
