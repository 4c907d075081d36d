"""A nylon-ring host in Python: loads any plugin, whatever language it is written in. Needs cffi (the extra `host`).

>>> with Host.load("./hello.so") as host:
...     status, body = host.call("unary", path="/orders")
"""

from nylon_ring_py.host._async import AsyncHost, AsyncStream
from nylon_ring_py.host._host import Host
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
