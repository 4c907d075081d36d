"""A body comes back as it went: every kind of entry, every door, every size."""

from __future__ import annotations

from conformance.answers import OK, pattern
from conformance.case import case
from conformance.pair import Pair

SIZES = (0, 1, 128, 64 << 10, (64 << 10) + 1)
HUGE = 16 << 20


def _echoes(pair: Pair, entry: str, door: str = "handle") -> None:
    for size in SIZES:
        pair.call(entry, size, door=door).expect_reply(OK, pattern(size), f"{entry} of {size} bytes")


@case()
def echo(pair: Pair) -> None:
    """A pooled entry answers with bodies of 0 bytes to 64 KiB and one."""
    _echoes(pair, "echo")


@case()
def echo_sync(pair: Pair) -> None:
    """A synchronous entry answers with bodies of 0 bytes to 64 KiB and one."""
    _echoes(pair, "echo_sync")


@case()
def raw_echo(pair: Pair) -> None:
    """A pooled entry that takes bytes only can be called like any other."""
    _echoes(pair, "raw_echo")


@case()
def raw_sync(pair: Pair) -> None:
    """A synchronous entry that takes bytes only can be called like any other."""
    _echoes(pair, "raw_sync")


@case(entries=("echo_async",))
def echo_async(pair: Pair) -> None:
    """An entry that answers after it has waited does so with bodies of every size, through every door."""
    _echoes(pair, "echo_async")
    if "raw" not in pair.hello.cannot:
        _echoes(pair, "echo_async", door="raw")
    if pair.abi == "v2" and "id" not in pair.hello.cannot:
        _echoes(pair, "echo_async", door="id")


@case(entries=("echo_executor",))
def echo_executor(pair: Pair) -> None:
    """So does an entry that runs in a pool of the author's."""
    _echoes(pair, "echo_executor")


@case(needs=("raw",))
def echo_through_raw(pair: Pair) -> None:
    """Entries that take a request can be called through the raw door."""
    for entry in ("echo", "echo_sync"):
        _echoes(pair, entry, door="raw")


@case(needs=("raw",))
def raw_through_raw(pair: Pair) -> None:
    """Entries that take bytes only can be called through the raw door."""
    for entry in ("raw_echo", "raw_sync"):
        _echoes(pair, entry, door="raw")


@case()
def huge_bodies(pair: Pair) -> None:
    """16 MiB come back whole, pooled and synchronous."""
    body = pattern(HUGE)
    for entry in ("echo", "echo_sync"):
        pair.call(entry, HUGE).expect_reply(OK, body, f"{entry} of 16 MiB")


@case()
def all_bytes(pair: Pair) -> None:
    """A body is bytes: all 256 values come back, whatever the door."""
    body = bytes(range(256))
    doors = ["handle"] + (["raw"] if "raw" not in pair.hello.cannot else [])
    for entry in ("echo", "echo_sync", "raw_echo", "raw_sync"):
        for door in doors:
            pair.call(entry, body, door=door).expect_reply(OK, body, f"{entry} through {door}")


@case(needs=("fast",))
def fast(pair: Pair) -> None:
    """A fast call of a synchronous entry has its reply when it returns."""
    for entry in ("echo_sync", "raw_sync"):
        _echoes(pair, entry, door="fast")


@case(needs=("fast", "fast_no_reply"))
def fast_pooled(pair: Pair) -> None:
    """A fast call of a pooled entry comes back: with the reply if it was there in time, and with none otherwise."""
    for _ in range(20):
        answer = pair.call("echo", b"late", door="fast")
        if answer.frames:
            answer.expect_reply(OK, b"late", "echo in time")
        else:
            answer.expect_frames([], None, "echo too late")
    pair.call("echo_sync", b"then", door="fast").expect_reply(OK, b"then", "the next fast call")
    pair.call("echo", b"then").expect_reply(OK, b"then", "the next call")


@case(needs=("id",), abis=("v2",), elsewhere="v1 has no entries by number")
def by_id(pair: Pair) -> None:
    """Entries are called by the number that the plugin has given their name."""
    for entry in ("echo", "echo_sync", "raw_echo", "raw_sync"):
        _echoes(pair, entry, door="id")
    pair.call("count", b"3", door="id", kind="stream").expect_frames([b"0", b"1", b"2"], (4, b""), "count by number")
