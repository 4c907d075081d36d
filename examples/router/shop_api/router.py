"""Finds the function for a method and a path, and turns what it returns into a JSON reply."""

import json
from collections.abc import Callable
from typing import TypeVar

from nylon_ring_py import HandlerError, Request, Response, Status

Route = TypeVar("Route", bound=Callable[..., object])


class Routes:
    """A group of routes, one per sub-module. In a pattern, `<name>` stands for one part of the path."""

    def __init__(self) -> None:
        self.table: list[tuple[str, list[str], Callable[..., object]]] = []

    def route(self, method: str, pattern: str) -> Callable[[Route], Route]:
        """Register a function; the parts of the path named in the pattern come as keyword arguments."""

        def register(function: Route) -> Route:
            self.table.append((method, _parts(pattern), function))
            return function

        return register


class Router:
    """Answers requests with the first route that fits."""

    def __init__(self, *groups: Routes) -> None:
        self._table = [row for group in groups for row in group.table]

    def answer(self, req: Request) -> Response:
        """The reply in JSON; HandlerError where no route fits."""
        methods = set()
        for method, pattern, function in self._table:
            named = _match(pattern, _parts(req.path))
            if named is not None and method == req.method:
                return Response(json.dumps(function(req, **named)))
            if named is not None:
                methods.add(method)
        if methods:
            raise HandlerError(Status.UNSUPPORTED, f"{req.path} takes {', '.join(sorted(methods))}, not {req.method}")
        raise HandlerError(Status.INVALID, f"there is nothing at {req.path}")


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    named = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("<"):
            named[wanted.strip("<>")] = part
        elif wanted != part:
            return None
    return named
