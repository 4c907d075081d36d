"""Handlers that end just as close answers for them: one reply each, whoever was first."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, fewer, until
from nrhost import Status

SOURCE = """
from nylon_ring_py import Plugin, Status, current_call

plugin = Plugin("contested", workers=4, shutdown_timeout_s=0.001)

def ends_with_the_gate(req):
    call = current_call()
    while not call.cancelled:
        pass
    return b"by itself"

def answers_with_the_gate(req):
    ends_with_the_gate(req)
    plugin.send_result(req.sid, Status.OK, b"by its sid")

plugin.handle_sync("ends_sync")(ends_with_the_gate)
plugin.handle("ends")(ends_with_the_gate)
plugin.handle_sync("answers_sync")(answers_with_the_gate)
plugin.handle_sync("quick")(lambda req: b"")
"""


@pytest.fixture(scope="module")
def contested(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "contested")


@pytest.mark.parametrize("entry", ["ends_sync", "ends", "answers_sync", "quick"])
def test_a_call_that_ends_while_close_answers_for_it(contested: Path, start_host: StartHost, entry: str) -> None:
    host = start_host()
    threads, window = (1, 4) if entry == "ends" else (6, 1)
    for _ in range(fewer(40)):
        assert host.load(contested) == Status.OK
        storm = host.start_storm(calls=2_000, threads=threads, unary=entry, window=window)
        until(lambda: host.ledger().open >= threads or host.ledger().terminals > 100)
        host.shutdown()
        counts = host.join(storm)
        assert counts["accepted"] == counts["terminals"]
        assert counts["timeouts"] == counts["wrong"] == 0
        host.unload()
