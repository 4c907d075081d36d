"""For authors' tests: a plugin called in this process, without building a file.

>>> with FakeHost(plugin) as host:
...     status, body = host.call("unary", path="/orders")

The fixtures for pytest are in `nylon_ring_py.testing.pytest_plugin`, which pytest finds by itself.
"""

from nylon_ring_py.host.errors import CallTimeoutError, HostClosedError, HostError, RefusedError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.testing._async_fake_host import AsyncFakeHost
from nylon_ring_py.testing._fake_host import FakeHost
from nylon_ring_py.testing._ledger import PromiseBroken, RecordedCall

__all__ = [
    "AsyncFakeHost",
    "CallTimeoutError",
    "FakeHost",
    "HostClosedError",
    "HostError",
    "PromiseBroken",
    "RecordedCall",
    "RefusedError",
    "Reply",
]
