"""Waiting for an event loop to have nothing more to do now: before time is moved by hand, and after."""

from __future__ import annotations

import asyncio
import threading

QUIET_ROUNDS = 3
"""Rounds without anything to run: a call that was just made takes one to be taken, one to begin, one to wait."""

MOST_ROUNDS = 1000
"""A loop that is never quiet is not waited for."""

MOST_S = 1.0
"""Nor is one that stands in a handler."""


def run_out(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop on another thread run as far as it comes without time going on.

    Args:
        loop: asyncio's own; one that is closed, or that the caller is on, is left alone.
    """
    if asyncio._get_running_loop() is loop:
        return
    done = threading.Event()
    quiet = rounds = 0

    def look() -> None:
        nonlocal quiet, rounds
        rounds += 1
        quiet = 0 if loop._ready else quiet + 1  # type: ignore[attr-defined]  # there is no public name for it
        if quiet == QUIET_ROUNDS or rounds == MOST_ROUNDS:
            done.set()
        else:
            loop.call_soon(look)

    try:
        loop.call_soon_threadsafe(look)
    except RuntimeError:  # it was closed meanwhile
        return
    done.wait(MOST_S)
