"""Answers that come at their deadline, and deadlines that fall due while a plugin is unloaded: one reply each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost, until
from gates import GATES, ended, stats, text
from nrhost import Status

OUTLASTED_S = 1.0

SOURCE = f"""
from concurrent.futures import ThreadPoolExecutor
{GATES}
OUTLASTED_S = {OUTLASTED_S}
"""

SOURCE += '''
plugin = Plugin("races", workers=16, shutdown_timeout_s=10)
add_controls(plugin)
threads = ThreadPoolExecutor(4)

# ---- answers close to the limit ----

NEAR_S = 0.05

def delay(sid):
    """Nothing, twice the limit, or the limit to within two milliseconds."""
    return [0, 2 * NEAR_S, *(NEAR_S + (i - 3) * 0.0005 for i in range(6))][sid % 8]

@plugin.handle("near_pooled", timeout_s=NEAR_S)
def near_pooled(req):
    time.sleep(delay(req.sid))
    return b"answer"

@plugin.handle("near_coroutine", timeout_s=NEAR_S)
async def near_coroutine(req):
    await asyncio.sleep(delay(req.sid))
    return b"answer"

@plugin.handle("near_callback", timeout_s=NEAR_S)
async def near_callback(req, callback: Callback):
    asyncio.get_running_loop().call_later(delay(req.sid), callback, b"answer")

@plugin.handle("near_executor", timeout_s=NEAR_S, executor=threads)
def near_executor(req):
    time.sleep(delay(req.sid))
    return b"answer"

@plugin.handle("near_generator", timeout_s=NEAR_S)
def near_generator(req):
    yield b"0"
    time.sleep(delay(req.sid))
    yield b"1"

@plugin.handle("near_a_generator", timeout_s=NEAR_S)
async def near_a_generator(req):
    yield b"0"
    await asyncio.sleep(delay(req.sid))
    yield b"1"

@plugin.stream("near_a_duplex", timeout_s=NEAR_S)
async def near_a_duplex(stream):
    await stream.send(b"0")
    await asyncio.sleep(delay(stream.sid))
    await stream.send(b"1")

# ---- at shutdown ----

@plugin.handle("outlasts", timeout_s=OUTLASTED_S)
def outlasts(req):
    log.append("begun")
    time.sleep(2 * OUTLASTED_S)

@plugin.handle("a_outlasts", timeout_s=OUTLASTED_S)
async def a_outlasts(req):
    log.append("begun")
    end = time.monotonic() + 2 * OUTLASTED_S
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError: pass

@plugin.stream("s_outlasts", timeout_s=OUTLASTED_S)
def s_outlasts(stream):
    log.append("begun")
    time.sleep(2 * OUTLASTED_S)
'''


@pytest.fixture(scope="module")
def races(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "races")


# ---- races ----

NEAR = ("near_pooled", "near_coroutine", "near_callback", "near_executor")
NEAR_STREAMS = ("near_generator", "near_a_generator", "near_a_duplex")


@pytest.mark.parametrize("abi", ["v1", "v2"])
@pytest.mark.parametrize("entry", NEAR + NEAR_STREAMS)
def test_answers_race_the_deadline(races: Path, start_host: StartHost, entry: str, abi: Any) -> None:
    host = start_host()
    assert host.load(races, abi=abi) == Status.OK
    calls = 400
    door = {"stream" if entry in NEAR_STREAMS else "unary": entry}
    storm = host.storm(calls=calls, threads=8, window=8, body_size=0, **door)  # type: ignore[arg-type]
    assert (storm.accepted, storm.terminals, storm.timeouts, storm.no_reply) == (calls, calls, 0, 0)
    until(lambda: ended(host, entry))
    until(lambda: stats(host)["entries"][entry]["latency"]["count"] == calls)  # whoever sends counts afterwards
    until(lambda: (counts := stats(host)["entries"][entry])["errors"] == counts["timeouts"])


# ---- at shutdown ----


def test_a_deadline_falls_due_during_shutdown(races: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(races) == Status.OK
    unary = [host.submit(entry).sid for entry in ("outlasts", "a_outlasts")]
    stream = host.submit("s_outlasts", kind="stream").sid
    until(lambda: text(host) == "begun,begun,begun")
    host.shutdown()
    for sid in [*unary, stream]:
        assert host.wait(sid).reply.text == f"TimeoutError: no answer within timeout_s={OUTLASTED_S:g}"
    host.unload()


def test_deadlines_race_a_shutdown(races: Path, start_host: StartHost) -> None:
    host = start_host()
    for turn in range(8):
        assert host.load(races) == Status.OK
        for entry in NEAR:
            for _ in range(10):
                host.submit(entry)
        for entry in NEAR_STREAMS:
            for _ in range(10):
                host.submit(entry, kind="stream")
        for _ in range(turn):
            host.call("near_coroutine", sid=8 * 10**6 + turn)
        ledger = host.unload()
        assert ledger is not None
        assert ledger.terminals == ledger.accepted == 10 * len(NEAR + NEAR_STREAMS) + turn
