"""What the core makes of a request only when a handler asks for it: headers, query arguments, a decoded body."""

from __future__ import annotations

from nylon_ring_py._core import Headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeVar, overload

    from nylon_ring_py._core import Request

    Default = TypeVar("Default")


__all__ = ["Args", "Headers"]


class Args(dict[str, list[str]]):
    """The arguments of a query: every name with its values, both in the order of the query."""

    __slots__ = ()

    if TYPE_CHECKING:

        @overload
        def first(self, name: str) -> str | None: ...
        @overload
        def first(self, name: str, default: Default) -> str | Default: ...

    def first(self, name: str, default: object = None) -> object:
        """The first value of a name, or `default` where the query does not have it."""
        values = self.get(name)
        return values[0] if values else default


def parse_args(query: str) -> Args:
    """Parse a query as ``urllib.parse.parse_qsl`` does, blank values kept.

    Args:
        query: the raw query, without the question mark.

    Returns:
        The arguments; percent escapes that are no UTF-8 give replacement characters.
    """
    from urllib.parse import parse_qsl

    args = Args()
    for name, value in parse_qsl(query, keep_blank_values=True):
        args.setdefault(name, []).append(value)
    return args


# The core calls these by name. The first call puts the codec's own function in their place: its module is loaded for
# plugins that decode, and costs those calls nothing more.


def decode_json(body: bytes) -> Any:
    """`nylon_ring_py._json.decode`."""
    from nylon_ring_py import _json

    globals()["decode_json"] = _json.decode
    return _json.decode(body)


def decode_msgpack(body: bytes) -> Any:
    """`nylon_ring_py._msgpack.decode`."""
    from nylon_ring_py import _msgpack

    globals()["decode_msgpack"] = _msgpack.decode
    return _msgpack.decode(body)


def refuse_state(entry: str) -> NoReturn:
    """What a request that was pickled, or copied, says when it is asked for its state.

    Raises:
        NotBoundError: always. A state that the host cannot see would be lost without a word.
    """
    from nylon_ring_py.errors import NotBoundError

    raise NotBoundError(
        f"this request of entry {entry!r} is a copy, as it comes to the worker process of an executor, and the state "
        "of its call stays with the host: answer with what is to be kept, or use a handler without executor="
    )


def reduce_request(fields: dict[str, Any]) -> tuple[object, ...]:
    """What pickle makes a request of in another process. The state tells it that it is a copy."""
    return remake_request, (fields,), True


def remake_request(fields: dict[str, Any]) -> Request:
    """A request with these arguments of its constructor."""
    from nylon_ring_py._core import Request

    return Request(**fields)
