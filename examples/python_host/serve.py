"""A line server whose answers come from a plugin: `ENTRY BODY` in, a line per reply or frame out."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

from nylon_ring_py import Status
from nylon_ring_py.host import AsyncHost, RefusedError


async def answer(host: AsyncHost, line: bytes, out: asyncio.StreamWriter) -> None:
    """Call the entry that the line names, and write what comes.

    A plugin does not tell which of its entries are streams: here those are whose names begin with `feed`.
    """
    entry, _, body = line.decode().rstrip("\r\n").partition(" ")
    try:
        if entry.startswith("feed"):
            async for frame in await host.call_stream(entry, body):
                out.write(f"Status.{Status(frame.status).name} ".encode() + frame.data + b"\n")
                await out.drain()  # a slow client slows the plugin down, where its ABI can (v2)
        else:
            reply = await host.call_raw(entry, body, timeout_s=10)
            out.write(f"Status.{Status(reply.status).name} ".encode() + reply.data + b"\n")
    except RefusedError as error:
        out.write(f"refused: Status.{error.status.name}\n".encode())


async def serve(plugin: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with await AsyncHost.load(plugin) as host:

        async def client(lines: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
            with contextlib.closing(out):
                async for line in lines:
                    await answer(host, line, out)
                await out.drain()

        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = await asyncio.start_server(client, "127.0.0.1", port)
        async with server:
            print(f"{host.name} {host.version} on port {server.sockets[0].getsockname()[1]}", flush=True)
            await stop.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plugin", help="a plugin's file")
    parser.add_argument("--port", type=int, default=0, help="0, the default: one that is free")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.plugin, arguments.port))


if __name__ == "__main__":
    main()
