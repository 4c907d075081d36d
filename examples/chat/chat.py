"""Chat rooms: a stream is a member of a room, and what one says all of the room read."""

from __future__ import annotations

import asyncio
import contextlib

from nylon_ring_py import CallEndedError, HandlerError, Plugin, Request, Status, Stream

BACKLOG = 100
"""Lines that wait for a member whose host takes no more. Then lines are left out, and how many is said."""

# All members live on the plugin's one event loop: between two awaits nobody else is at work here, so nothing is locked.
plugin = Plugin("chat", version="1.0.0", max_buffered=16, close_timeout_s=5)


class Member:
    """A stream, and the lines that wait for it."""

    def __init__(self, name: str, stream: Stream) -> None:
        self.name = name
        self._stream = stream
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._left_out = 0

    def hear(self, line: str) -> None:
        """Have a line sent. Never waits: whoever is slow misses something, and holds up nobody."""
        if self._lines.qsize() >= BACKLOG:
            self._left_out += 1
        else:
            self._lines.put_nowait(line)

    def leave(self) -> None:
        """Have `write` end after the lines that wait."""
        self._lines.put_nowait(None)

    async def write(self) -> None:
        """Send the lines, as fast as the host takes them."""
        with contextlib.suppress(CallEndedError):  # the reader is gone
            while (line := await self._lines.get()) is not None:
                await self._stream.send(line)
                if self._left_out > 0 and self._lines.empty():
                    left_out, self._left_out = self._left_out, 0
                    await self._stream.send(f"* {left_out} lines were left out: you read too slowly")


class Room:
    """The members by name."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}

    def tell(self, line: str) -> None:
        """Have all hear it."""
        for member in self.members.values():
            member.hear(line)


rooms: dict[str, Room] = {}


@plugin.stream("chat", max_pending=10_000)
async def chat(stream: Stream) -> None:
    """The payload that opens the stream is `ROOM NAME`; then each frame is a line."""
    room_name, _, name = stream.request.body.decode(errors="replace").partition(" ")
    if not room_name or not name:
        raise HandlerError(Status.INVALID, "open the stream with ROOM NAME")
    room = rooms.setdefault(room_name, Room())
    if name in room.members:
        raise HandlerError(Status.INVALID, f"{name} is in {room_name} already")
    member = room.members[name] = Member(name, stream)
    room.tell(f"* {name} joins")
    async with asyncio.TaskGroup() as tasks:  # leaves the room, then waits for the writer: it has close_timeout_s
        tasks.create_task(member.write())
        try:
            async for frame in stream:  # until the host closes, or the stream ends
                room.tell(f"{name}: {frame.decode(errors='replace')}")
        finally:
            del room.members[name]
            room.tell(f"* {name} leaves")
            if not room.members:
                del rooms[room_name]
            member.leave()


@plugin.handle("rooms", codec="json")
async def show(_req: Request) -> dict[str, list[str]]:
    """Who is where. A coroutine, so it runs where the members live."""
    return {name: sorted(room.members) for name, room in rooms.items()}
