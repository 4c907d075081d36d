"""For authors' tests: a plugin called in this process, without building a file.

>>> with FakeHost(plugin) as host:
...     status, body = host.call("unary", path="/orders")

The fixtures for pytest are in `nylon_ring_py.testing.pytest_plugin`, which pytest finds by itself.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nylon_ring_py.host.errors import CallTimeoutError, HostClosedError, HostError, RefusedError
    from nylon_ring_py.host.reply import Reply
    from nylon_ring_py.host.stream import Stream
    from nylon_ring_py.testing._async_fake_host import AsyncFakeHost
    from nylon_ring_py.testing._fake_host import FakeHost
    from nylon_ring_py.testing._ledger import PromiseBroken, RecordedCall
    from nylon_ring_py.testing.pytest_plugin import BuildPlugin

__all__ = [
    "AsyncFakeHost",
    "BuildPlugin",
    "CallTimeoutError",
    "FakeHost",
    "HostClosedError",
    "HostError",
    "PromiseBroken",
    "RecordedCall",
    "RefusedError",
    "Reply",
    "Stream",
]

_HOMES = {
    "AsyncFakeHost": "nylon_ring_py.testing._async_fake_host",
    "BuildPlugin": "nylon_ring_py.testing.pytest_plugin",
    "CallTimeoutError": "nylon_ring_py.host.errors",
    "FakeHost": "nylon_ring_py.testing._fake_host",
    "HostClosedError": "nylon_ring_py.host.errors",
    "HostError": "nylon_ring_py.host.errors",
    "PromiseBroken": "nylon_ring_py.testing._ledger",
    "RecordedCall": "nylon_ring_py.testing._ledger",
    "RefusedError": "nylon_ring_py.host.errors",
    "Reply": "nylon_ring_py.host.reply",
    "Stream": "nylon_ring_py.host.stream",
}


def __getattr__(name: str) -> object:
    # pytest imports this package wherever it is installed, for the fixtures' sake: the rest comes when asked for.
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)
