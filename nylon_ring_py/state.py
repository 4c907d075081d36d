"""State of one call or stream, kept by the host where it offers that, and in the plugin otherwise."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class StateStore(Protocol):
        """What `State` needs of a loaded plugin: the core's Instance has it."""

        def state_set(self, sid: int, key: str, value: bytes) -> None:
            """Keep a value until the call of this sid ends."""

        def state_get(self, sid: int, key: str) -> bytes | None:
            """Give a value, or None."""


class State:
    """Values kept under string keys for one sid, from the first `set` until the terminal reply.

    Args:
        instance: the loaded plugin that keeps them. None keeps them in this object: so it is for a request that
            a test made by hand.
        sid: the call or stream.
    """

    __slots__ = ("_instance", "sid")

    def __init__(self, instance: StateStore | None, sid: int) -> None:
        self._instance: StateStore = _LocalStore() if instance is None else instance
        self.sid = sid

    def set(self, key: str, value: bytes | bytearray | memoryview | str) -> None:
        """Keep a value.

        Args:
            key: any str.
            value: bytes-like, copied; or str, kept in UTF-8. An empty value counts as none, since a host cannot
                tell the two apart.

        Raises:
            TypeError: the value is neither bytes-like nor str.
            CallEndedError: the call has had its terminal reply.
        """
        if isinstance(value, str):
            value = value.encode()
        elif not isinstance(value, bytes):
            value = memoryview(value).tobytes()
        self._instance.state_set(self.sid, key, value)

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        """Look a value up.

        Args:
            key: the key it was set under.
            default: returned when there is none.

        Returns:
            The value, or `default`.
        """
        return self._instance.state_get(self.sid, key) or default

    def __repr__(self) -> str:
        return f"State(sid={self.sid})"


class _LocalStore:
    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[tuple[int, str], bytes] = {}

    def state_set(self, sid: int, key: str, value: bytes) -> None:
        self._values[sid, key] = value

    def state_get(self, sid: int, key: str) -> bytes | None:
        return self._values.get((sid, key))
