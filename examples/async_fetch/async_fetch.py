"""What a thing costs in several shops: coroutines that ask HTTP servers at once, with limits of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from nylon_ring_py import HandlerError, Plugin, Request, Status


@dataclass
class Config:
    """From async_fetch.toml beside the plugin, or ASYNC_FETCH_SHOPS and so on."""

    shops: list[str] = field(default_factory=list)  # HOST:PORT of each
    connections: int = 8  # at a time; further requests wait
    patience_s: float = 1.0  # with each shop


plugin = Plugin("async_fetch", version="1.0.0", config=Config)


@plugin.lifespan
async def client() -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """The client lives as long as the plugin, on its event loop, and so do its connections."""
    limits = httpx.Limits(max_connections=plugin.config.connections)
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:
        yield {"client": client}  # plugin.ctx.client


@plugin.handle("prices", codec="json")
async def prices(req: Request) -> dict[str, float | str]:
    """What `?thing=` costs in each shop, or why that is not known."""
    path = _path(req)
    shops: list[str] = plugin.config.shops
    answers = await asyncio.gather(*(_price_or_reason(shop, path) for shop in shops))
    return dict(zip(shops, answers, strict=True))


@plugin.handle("first", timeout_s=2)
async def first(req: Request) -> str:
    """What `?thing=` costs in the shop that answers first; the other requests are given up."""
    path = _path(req)
    tasks = [asyncio.create_task(_price(shop, path)) for shop in plugin.config.shops]
    try:
        for next_answer in asyncio.as_completed(tasks):
            try:
                return f"{await next_answer:.2f}"
            except (httpx.HTTPError, ValueError):
                continue  # another shop may have it
        raise HandlerError(Status.INVALID, "no shop has it")
    finally:  # at the deadline, too: the host has its answer then, and this handler is cancelled
        for task in tasks:
            task.cancel()


async def _price_or_reason(shop: str, path: str) -> float | str:
    try:
        async with asyncio.timeout(plugin.config.patience_s):
            return await _price(shop, path)
    except TimeoutError:
        return "too slow"
    except (httpx.HTTPError, ValueError) as failure:
        return str(failure)


async def _price(shop: str, path: str) -> float:
    client: httpx.AsyncClient = plugin.ctx.client
    response = await client.get(f"http://{shop}{path}")
    response.raise_for_status()
    return float(response.text)


def _path(req: Request) -> str:
    thing = req.args.first("thing")
    if not thing:
        raise HandlerError(Status.INVALID, "ask with ?thing=")
    return "/" + quote(thing, safe="")
