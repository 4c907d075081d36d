"""Many threads call at once, and every accepted call has its own reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from conformance.answers import ERR, OK, Failed
from conformance.case import case
from conformance.driver import DriverRefused
from conformance.pair import Pair, eventually

CALLS = 800


@case()
def storms(pair: Pair) -> None:
    """Eight threads, every entry and size: as many replies as calls, none wrong, none lost."""
    for entry in ("echo", "echo_sync", "raw_echo", "raw_sync"):
        for size in (0, 128, 70_000):
            calls = CALLS if size < 1000 else CALLS // 8
            tally = pair.storm(entry, calls, threads=8, body_size=size)
            tally.expect_all_answered(f"a storm of {entry} with {size} bytes", calls=calls)


@case(needs=("raw",))
def raw_storms(pair: Pair) -> None:
    """The same through the raw door."""
    for entry in ("raw_echo", "raw_sync"):
        pair.storm(entry, CALLS, threads=8, door="raw").expect_all_answered(f"a storm of {entry}", calls=CALLS)


@case(needs=("fast",))
def fast_storms(pair: Pair) -> None:
    """The same through the fast door, with synchronous entries."""
    for entry in ("echo_sync", "raw_sync"):
        pair.storm(entry, CALLS, threads=8, door="fast").expect_all_answered(f"a storm of {entry}", calls=CALLS)


#: Entries whose frames are the body.
SPREADS = ("spread", "spread_async")
RELAYS = ("relay", "relay_async", "relay_object")


@case(entries=SPREADS)
def stream_storms(pair: Pair) -> None:
    """Eight threads open streams: every stream has all of its frames, in order, and its end."""
    for entry in SPREADS:
        for size in (0, 128, 70_000):
            calls = CALLS // 4 if size < 1000 else CALLS // 8
            tally = pair.storm(entry, calls, threads=8, body_size=size, kind="stream")
            tally.expect_all_answered(f"a storm of {entry} with {size} bytes", calls=calls)


@case(needs=("duplex",), entries=RELAYS)
def duplex_storms(pair: Pair) -> None:
    """Eight threads send frames into streams of their own: what goes in comes out, in order, before the end.

    A thousand frames and more at once are more than a plugin has room for: those it refuses go again.
    """
    for entry in RELAYS:
        for size, pieces, calls in ((0, 8, 100), (128, 8, CALLS // 4), (70_000, 8, 50), (2000, 2000, 8)):
            tally = pair.storm(entry, calls, threads=8, body_size=size, kind="duplex", pieces=pieces)
            tally.expect_all_answered(f"a storm of {entry} with {size} bytes in {pieces} pieces", calls=calls)


#: Of every kind: the entry, how it is called, and how many of sixteen threads do so.
MIX = (
    *(("echo_sync", "unary", 2), ("echo", "unary", 2), ("echo_async", "unary", 2), ("echo_executor", "unary", 2)),
    *(("spread", "stream", 2), ("spread_async", "stream", 2)),
    *(("relay", "duplex", 2), ("relay_async", "duplex", 1), ("relay_object", "duplex", 1)),
)


@case(needs=("duplex",), entries=[entry for entry, _, _ in MIX])
def mixed_storms(pair: Pair) -> None:
    """Sixteen threads call entries of every kind at once: all answered, streams in order, and memory flat."""

    def round_of_all() -> int:
        jobs = [pair.start_storm(entry, threads, calls=30 * threads, kind=kind) for entry, kind, threads in MIX]
        for job, (entry, _, threads) in zip(jobs, MIX, strict=True):
            pair.join_storm(job).expect_all_answered(f"a storm of {entry} among others", calls=30 * threads)
        return pair.process().rss_kib

    rss_kib = [round_of_all() for _ in range(3)]
    # Heaps of sixteen callers and their workers come and go by some MiB; what is lost is lost in every round.
    while rss_kib[-1] - rss_kib[-3] > 4096:
        if len(rss_kib) == 7:
            raise Failed(f"memory after each round: {rss_kib} KiB, expected at most 4096 KiB more after two of them")
        rss_kib.append(round_of_all())


@case(needs=("duplex",), entries=[entry for entry, _, _ in MIX])
def unloaded_under_mixed_load(pair: Pair) -> None:
    """An unload under calls of every kind: accepted calls are answered, streams end, and later ones are refused."""

    def calls_beside(calls: int) -> None:
        pair.storm("echo", calls, threads=2).expect_all_answered("calls beside the storms", calls=calls)

    _storms_over_unload(pair, MIX, calls_beside)


@case()
def held_calls(pair: Pair) -> None:
    """Calls answered later, from another thread, have each its own reply."""
    sids = {pair.submit("held", b"%d" % number): number for number in range(20)}
    held = 0

    def all_released() -> bool:
        nonlocal held
        held += pair.number("let_go")
        return held == len(sids)

    eventually(all_released, "let_go has answered 20 calls")
    for sid, number in sids.items():
        pair.wait(sid).expect_reply(OK, b"%d" % number, f"held call {number}")


@case(needs=("drop_unary",))
def held_and_dropped(pair: Pair) -> None:
    """A reply that comes after its call was given up does no harm."""
    for _ in range(5):
        pair.drop(pair.submit("held", b"given up"))
    kept = pair.submit("held", b"kept")
    released = 0

    def all_released() -> bool:
        nonlocal released
        released += pair.number("let_go")
        return released == 6

    eventually(all_released, "let_go has taken 6 calls")
    pair.wait(kept).expect_reply(OK, b"kept", "the call that was kept")
    pair.call("echo", b"alive").expect_reply(OK, b"alive", "echo afterwards")


@case(needs=("answer_at_unload",))
def held_and_unloaded(pair: Pair) -> None:
    """Calls that are held when the plugin is unloaded are answered by then: none is lost, and the unload comes back."""
    for _ in range(3):
        pair.submit("held", b"unanswered")
    job = pair.start_storm("held", threads=8)
    # One is held by each thread in the end: after each release they call again.
    released = 0

    def storm_is_on() -> bool:
        nonlocal released
        released += pair.number("let_go")
        return released >= 11

    eventually(storm_is_on, "let_go has answered 11 calls")
    pair.unload()
    tally = pair.join_storm(job)
    tally.expect_all_answered("held calls over an unload")


@case()
def unloaded_under_load(pair: Pair) -> None:
    """An unload in the middle of a storm: accepted calls are answered, later ones refused, none lost."""

    def calls_beside(calls: int) -> None:
        pair.storm("echo", calls, threads=2).expect_all_answered("calls beside the storm", calls=calls)

    for entry in ("echo", "echo_sync"):
        _storm_over_unload(pair, entry, calls_beside)
        pair.load()


@case()
def failing_beside_others(pair: Pair) -> None:
    """Failures of some calls are no concern of others."""

    def failures_beside(calls: int) -> None:
        for number in range(calls):
            entry = ("fail", "fail_sync")[number % 2]
            pair.call(entry, b"%d" % number).expect_reply(ERR, b"ValueError: %d" % number, entry)

    _storm_over_unload(pair, "echo", failures_beside)


def _storm_over_unload(pair: Pair, entry: str, beside: Callable[[int], None]) -> None:
    _storms_over_unload(pair, [(entry, "unary", 8)], beside)


def _storms_over_unload(pair: Pair, storms: Sequence[tuple[str, str, int]], beside: Callable[[int], None]) -> None:
    """Storms of entry, kind and threads from before an unload to after it, with some calls beside in the meantime.

    Nothing tells that their callers have begun. Where the unload came before them there was nothing to see, and all is
    done again with more calls beside.
    """
    for calls in (200, 1000, 5000):
        jobs = [pair.start_storm(entry, threads, kind=kind) for entry, kind, threads in storms]
        beside(calls)
        pair.unload()
        begun = True
        for job, (entry, _, _) in zip(jobs, storms, strict=True):
            try:
                tally = pair.join_storm(job)
            except DriverRefused:
                if calls == 5000:
                    raise
                begun = False
                continue
            if tally.accepted or calls == 5000:
                tally.expect_all_answered(f"a storm of {entry} over an unload")
            else:
                begun = False
        if begun:
            return
        pair.load()


@case(needs=("reload",))
def reloaded(pair: Pair) -> None:
    """Reloads under sixteen callers: nothing lost, nothing wrong, and memory flat at the end."""
    reloads, tally, rss_kib = pair.reload("echo", pair.reloads, threads=16)
    if reloads != pair.reloads:
        raise Failed(f"{reloads} reloads, expected {pair.reloads}")
    tally.expect_all_answered(f"echo over {reloads} reloads")
    # Heaps of sixteen callers and their workers come and go by some MiB, whatever is loaded.
    expect_flat(rss_kib, 8192 + pair.reloads // 2, f"memory over {reloads} reloads")


def expect_flat(rss_kib: list[int], allowed_kib: int, what: str) -> None:
    """Fail when memory has grown by more over the last half."""
    half = rss_kib[len(rss_kib) // 2 :]
    if not half or max(half[-2:]) - half[0] > allowed_kib:
        raise Failed(f"{what}: {rss_kib} KiB, expected at most {allowed_kib} KiB more over the last half")
