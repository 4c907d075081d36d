"""What callers of a host pass, and a loaded plugin as a `Stream` sees it. Needs no cffi."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

Text: TypeAlias = str | bytes
"""Text of a request: str in UTF-8, or bytes as they are."""

Body: TypeAlias = bytes | bytearray | memoryview | str | None
"""A payload: bytes-like as it is, and not copied; str in UTF-8; None for an empty one."""

Headers: TypeAlias = Mapping[str, Text] | Iterable[tuple[Text, Text]]


def as_bytes(text: Text) -> bytes:
    """Text of a request as the ABI wants it."""
    return text.encode() if isinstance(text, str) else text


class CallOwner(Protocol):
    """What somebody who waits for a reply asks of the plugin that owes it."""

    path: str
    """Which plugin it is, for messages."""

    def give_up(self, sid: int) -> None:
        """Forget a call: its reply will be ignored."""


class StreamOwner(Protocol):
    """What a stream asks of the plugin that it belongs to."""

    def send_stream_data(self, sid: int, body: Body = b"") -> None:
        """See `Host.send_stream_data`."""

    def close_stream(self, sid: int) -> None:
        """See `Host.close_stream`."""

    def drop_stream(self, sid: int) -> bool:
        """Nobody reads a stream any more. True where the plugin is to be told with `close_dropped`."""

    def close_dropped(self) -> None:
        """Tell the plugin of streams without a reader."""
