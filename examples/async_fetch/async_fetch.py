"""What a thing costs in several shops: coroutines that ask HTTP servers at once, with limits of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

from http_client import HttpClient, HttpError

from nylon_ring_py import HandlerError, Plugin, Request, Status


@dataclass
class Config:
    """From async_fetch.toml beside the plugin, or ASYNC_FETCH_SHOPS and so on."""

    shops: list[str] = field(default_factory=list)  # HOST:PORT of each
    connections: int = 4  # to each of them
    patience_s: float = 1.0  # with each of them


plugin = Plugin("async_fetch", version="1.0.0", config=Config)


@plugin.lifespan
async def shops() -> AsyncIterator[dict[str, list[HttpClient]]]:
    """The clients live as long as the plugin, on its event loop, and so do their connections."""
    clients = [HttpClient(address, plugin.config.connections) for address in plugin.config.shops]
    try:
        yield {"shops": clients}  # plugin.ctx.shops
    finally:
        for client in clients:
            await client.close()


@plugin.handle("prices", codec="json")
async def prices(req: Request) -> dict[str, float | str]:
    """What `?thing=` costs in each shop, or why that is not known."""
    path = _path(req)
    clients: list[HttpClient] = plugin.ctx.shops
    answers = await asyncio.gather(*(_price_or_reason(client, path) for client in clients))
    return {client.address: answer for client, answer in zip(clients, answers, strict=True)}


@plugin.handle("first", timeout_s=2)
async def first(req: Request) -> str:
    """What `?thing=` costs in the shop that answers first; the other requests are given up."""
    path = _path(req)
    tasks = [asyncio.create_task(_price(client, path)) for client in plugin.ctx.shops]
    try:
        for next_answer in asyncio.as_completed(tasks):
            try:
                return f"{await next_answer:.2f}"
            except (HttpError, OSError, ValueError):
                continue  # another shop may have it
        raise HandlerError(Status.INVALID, "no shop has it")
    finally:  # at the deadline, too: the host has its answer then, and this handler is cancelled
        for task in tasks:
            task.cancel()


async def _price_or_reason(client: HttpClient, path: str) -> float | str:
    try:
        async with asyncio.timeout(plugin.config.patience_s):
            return await _price(client, path)
    except TimeoutError:
        return "too slow"
    except (HttpError, OSError, ValueError) as failure:
        return str(failure)


async def _price(client: HttpClient, path: str) -> float:
    return float(await client.get(path))


def _path(req: Request) -> str:
    thing = req.args.first("thing")
    if not thing:
        raise HandlerError(Status.INVALID, "ask with ?thing=")
    return "/" + quote(thing, safe="")
