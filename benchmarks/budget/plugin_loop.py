"""The plugin whose coroutine is counted: one of its own, since an event loop makes a plugin's start much longer."""

import asyncio

from nylon_ring_py import Plugin, Request

plugin = Plugin("budget-loop", version="1.0.0", workers=1)


@plugin.handle("task")
async def task(req: Request) -> bytes:
    """On the event loop; it waits for nothing."""
    return req.body


@plugin.handle("turn")
async def turn(req: Request) -> bytes:
    """The same after a wait."""
    await asyncio.sleep(0)
    return req.body


@plugin.handle("timeout")
async def timeout(req: Request) -> bytes:
    """Under a limit of time, which asks for the task."""
    async with asyncio.timeout(60):
        return req.body
