"""What the core makes of a request only when a handler asks for it: headers, query arguments, a decoded body."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, NoReturn, TypeVar, overload

    from nylon_ring_py._core import Request

    Default = TypeVar("Default")


class Headers:
    """The headers of a request: a read-only multi-mapping that keeps order and repeats, and takes names in any case.

    Text is decoded as UTF-8 with surrogateescape when it is read, so that a latin-1 value does no harm; `raw` has
    the bytes. ``len()`` counts pairs, iterating gives each name once.

    Args:
        pairs: names and values in order; str is encoded as it would be decoded.
    """

    __slots__ = ("_index", "raw")

    raw: list[tuple[bytes, bytes]]
    """The pairs as the host passed them."""

    def __init__(self, pairs: Iterable[tuple[str | bytes, str | bytes]] = ()) -> None:
        self.raw = [(_to_bytes(name), _to_bytes(value)) for name, value in pairs]
        self._index: dict[bytes, list[bytes]] | None = None

    def _values(self, name: str) -> list[bytes]:
        if self._index is None:
            index: dict[bytes, list[bytes]] = {}
            for key, value in self.raw:
                index.setdefault(key.lower(), []).append(value)
            self._index = index
        # Names are valid UTF-8 here, so what surrogatepass writes for a lone surrogate matches none of them.
        return self._index.get(name.encode("utf-8", "surrogatepass").lower(), [])

    def __getitem__(self, name: str) -> str:
        """The first value of a header; KeyError where there is none."""
        values = self._values(name)
        if not values:
            raise KeyError(name)
        return _to_str(values[0])

    if TYPE_CHECKING:

        @overload
        def get(self, name: str) -> str | None: ...
        @overload
        def get(self, name: str, default: Default) -> str | Default: ...

    def get(self, name: str, default: object = None) -> object:
        """The first value of a header, or `default` where there is none."""
        values = self._values(name)
        return _to_str(values[0]) if values else default

    def get_all(self, name: str) -> list[str]:
        """Every value of a header in order; an empty list where there is none."""
        return [_to_str(value) for value in self._values(name)]

    def keys(self) -> list[str]:
        """Each name once, in the order and the spelling of its first appearance."""
        names: dict[bytes, bytes] = {}
        for key, _ in self.raw:
            names.setdefault(key.lower(), key)
        return [_to_str(name) for name in names.values()]

    def values(self) -> list[str]:
        """The value of every pair, in order."""
        return [_to_str(value) for _, value in self.raw]

    def items(self) -> list[tuple[str, str]]:
        """Every pair in order, repeats included."""
        return [(_to_str(name), _to_str(value)) for name, value in self.raw]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._values(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.raw)

    def __eq__(self, other: object) -> bool:
        """Equal pairs in equal order; the case of a name does not count."""
        if not isinstance(other, Headers):
            return NotImplemented
        return _folded(self.raw) == _folded(other.raw)

    __hash__ = None  # type: ignore[assignment]  # raw is a list

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"


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


def build_headers(headers_raw: list[tuple[bytes, bytes]]) -> Headers:
    """Make the `Headers` of a request.

    Args:
        headers_raw: the pairs as the host passed them.

    Returns:
        The multi-mapping over those pairs.
    """
    headers = Headers()
    headers.raw = list(headers_raw)  # bytes already: nothing to convert
    return headers


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


def _to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _to_str(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _folded(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in pairs]
