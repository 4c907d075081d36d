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


@plugin.handle("look")
async def look(req: Request) -> bytes:
    """It asks for its task, as asyncio.timeout does: the next call gets another one."""
    task = asyncio.current_task()
    return req.body if task is not None and not task.cancelling() else b""
