"""Plugins whose handlers wait at gates until a test opens them, and what the tests ask them."""

from __future__ import annotations

import json
from typing import Any

from conftest import until
from nrhost import Call, NrHost, Status

LIMIT_S = 0.5

#: The beginning of a plugin's file: before it, its author's own imports; after it, `plugin` and the handlers.
GATES = """
import asyncio
import json
import threading
import time
from nylon_ring_py import CallEndedError, Callback, Plugin, Status, current_call

log = []
gates = {}

def gate(name):
    return gates.setdefault(name, threading.Event())

async def opened(name):
    while not gate(name).is_set():
        await asyncio.sleep(0.002)

def add_controls(plugin):
    @plugin.handle_sync("log")
    def show_log(req): return ",".join(log)

    @plugin.handle_sync("go")
    def go(req): gate(req.body.decode()).set()

    @plugin.handle_sync("gates")
    def show_gates(req): return ",".join(gates)

    @plugin.handle_sync("stats")
    def stats(req): return json.dumps(plugin.stats().to_dict())
"""


def text(host: NrHost) -> str:
    return host.call("log").reply.text


def stats(host: NrHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.call("stats").reply.text)
    return found


def ended(host: NrHost, entry: str) -> bool:
    """Whether no handler of that entry is at work any more."""
    return bool(stats(host)["entries"][entry]["running"] == 0)


def log_ends(host: NrHost, entry: str, seen: str) -> None:
    until(lambda: text(host) == seen)
    until(lambda: ended(host, entry))


def expect_end(call: Call, first: list[bytes], reply: str) -> None:
    """Frames, and then an end that says which limit is over."""
    assert [frame.data for frame in call.frames[:-1]] == first
    assert (call.frames[-1].status, call.frames[-1].text) == (Status.ERR, reply)
