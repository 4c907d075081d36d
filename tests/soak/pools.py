"""The soak test's plugin with processes of its own, one of which is killed now and then."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from nylon_ring_py import Plugin, Request


def processes() -> ProcessPoolExecutor:
    """Two, made anew where one was killed."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


plugin = Plugin("soak_pools", shutdown_timeout_s=20)


@plugin.handle("process", executor=processes)
def process(req: Request) -> bytes:
    """In another process."""
    return req.body


@plugin.handle_sync("children")
def children(req: Request) -> str:
    """The processes' numbers."""
    return json.dumps([child.pid for child in multiprocessing.active_children()])
