"""Async generator handlers as what the core runs: a coroutine that sends what they yield."""

from __future__ import annotations

from asyncio import CancelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from typing import Any

    from nylon_ring_py._core import Stream


def drive(function: Callable[[Any], AsyncGenerator[Any, None]]) -> Callable[[Stream], Coroutine[Any, Any, None]]:
    """Make the coroutine function of an async generator function.

    When the host closes the stream the generator is cancelled where it waits, or closed between two frames, and its
    finally runs; then the stream ends as after its last frame.

    Args:
        function: takes the request, or the payload of a raw entry.

    Returns:
        What takes the stream.
    """

    async def run(stream: Stream) -> None:
        frames = function(stream.request)
        try:
            async for frame in frames:
                await stream.send(frame)
                if stream.cancelled:
                    break
        except CancelledError:
            if not stream.cancelled:  # somebody else's cancel
                raise
        finally:
            if stream.cancelled:
                stream._acknowledge()  # a cancel on its way would end what the generator's finally awaits
            await frames.aclose()

    return run
