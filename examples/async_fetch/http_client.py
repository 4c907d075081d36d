"""As much of an HTTP client as the example needs: GET, over connections that are kept for the next request."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

_Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class HttpError(Exception):
    """The answer was none that can be used."""


class HttpClient:
    """One server.

    Args:
        address: ``HOST:PORT``.
        connections: how many requests it is sent at a time; further ones wait.
    """

    def __init__(self, address: str, connections: int) -> None:
        self.address = address
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._free = asyncio.Semaphore(connections)
        self._kept: list[_Connection] = []

    async def get(self, path: str) -> bytes:
        """The body at a path.

        Raises:
            HttpError: the status was another than 200, or the answer no HTTP.
            OSError: the server cannot be reached.
        """
        async with self._free:
            while self._kept:
                try:
                    return await self._ask(self._kept.pop(), path)
                except (EOFError, ConnectionError):
                    continue  # the server has closed it meanwhile
            try:
                return await self._ask(await asyncio.open_connection(self._host, self._port), path)
            except EOFError:
                raise HttpError("the answer broke off") from None

    async def _ask(self, connection: _Connection, path: str) -> bytes:
        reader, writer = connection
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode("ascii"))
            await writer.drain()
            status, length = _read_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(length)
        except BaseException:  # cancelled too: it would bring the rest of this answer to the next request
            writer.close()
            raise
        self._kept.append(connection)
        if status != "200":
            raise HttpError(f"status {status}")
        return body

    async def close(self) -> None:
        """Close what is kept."""
        for _, writer in self._kept:
            writer.close()
        for _, writer in self._kept:
            await writer.wait_closed()
        self._kept.clear()


def _read_head(head: bytes) -> tuple[str, int]:
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    try:
        return lines[0].split(" ", 2)[1], int(fields["content-length"])
    except (IndexError, KeyError, ValueError):
        raise HttpError("the answer has no status or no length") from None
