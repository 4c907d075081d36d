"""A nylon-ring host in Python: loads any plugin, whatever language it is written in. Needs cffi (the extra `host`).

>>> with Host.load("./hello.so") as host:
...     status, body = host.call("unary", path="/orders")
"""

from nylon_ring_py.host._async_calls import AsyncStream
from nylon_ring_py.host.errors import (
    AbiVersionError,
    CallFailedError,
    CallTimeoutError,
    HostClosedError,
    HostError,
    InitRefusedError,
    LibraryError,
    LoadError,
    NoReplyError,
    NotAPluginError,
    PluginNotFoundError,
    RefusedError,
)
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.host.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nylon_ring_py.host._async import AsyncHost
    from nylon_ring_py.host._host import Host

__all__ = [
    "AbiVersionError",
    "AsyncHost",
    "AsyncStream",
    "CallFailedError",
    "CallTimeoutError",
    "Host",
    "HostClosedError",
    "HostError",
    "InitRefusedError",
    "LibraryError",
    "LoadError",
    "NoReplyError",
    "NotAPluginError",
    "PluginNotFoundError",
    "RefusedError",
    "Reply",
    "Stream",
]


def __getattr__(name: str) -> object:
    # Only these two need cffi: calls, replies and errors are those of `nylon_ring_py.testing`, too.
    if name == "Host":
        from nylon_ring_py.host._host import Host

        return Host
    if name == "AsyncHost":
        from nylon_ring_py.host._async import AsyncHost

        return AsyncHost
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
