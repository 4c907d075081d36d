"""Host threads with less stack than Python likes: depth is a reply, and too little means to wait for a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CORE_THREADS, BuildPlugin, StartHost, until
from nrhost import NrHost, Status

SMALL, RUST = 64 << 10, 2 << 20  # one that runs no Python, and what Rust gives a thread

SOURCE = '''
    import threading
    from nylon_ring_py import Plugin

    plugin = Plugin("deep", workers=1, shutdown_timeout_s=0.2)
    plugin.handle_sync("queued")(lambda req: str(plugin.stats().entries["echo"].queued))
    held = threading.Event()
    released = threading.Event()

    @plugin.handle_sync("run")
    def run(req):
        """Runs the body as code."""
        exec(req.body.decode(), {})

    plugin.handle_sync("echo")(lambda req: req.body)

    @plugin.handle("hold")
    def hold(req):
        held.set()
        released.wait()

    plugin.handle_sync("wait_held")(lambda req: str(held.wait()))
    plugin.handle_sync("release")(lambda req: released.set())
'''


@pytest.fixture(scope="module")
def deep(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "deep")


@pytest.fixture
def host(deep: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(deep) == Status.OK
    return host


NESTED = "nested = []\nfor _ in range(100_000): nested = [nested]\n"
DEEP = {
    "json.loads": "import json; json.loads('[' * 100_000)",
    "json.loads of objects": "import json; json.loads('{\"a\":' * 100_000)",
    "json.dumps": NESTED + "import json; json.dumps(nested)",
    "repr": NESTED + "repr(nested)",
    "==": NESTED + "other = []\nfor _ in range(100_000): other = [other]\nnested == other",
    "pickle": NESTED + "import pickle; pickle.dumps(nested)",
    "re.compile": "import re; re.compile('(' * 5000 + ')' * 5000)",
    "re.sub": "import re\ndef again(match): return re.sub('a', again, 'a')\nagain(None)",
    "sorted": "def again(x): return sorted([1], key=again)\nagain(None)",
    "compile": "compile('a' + '.b' * 100_000, 'deep', 'eval')",
    "__getattr__": "class A:\n  def __getattr__(self, name): return getattr(self, name)\nA().x",
}


@pytest.mark.parametrize("way", DEEP)
def test_depth_on_a_thread_of_2_mib_is_a_reply(host: NrHost, way: str) -> None:
    reply = host.call("run", body=DEEP[way].encode(), on="thread", stack=RUST).reply
    assert (reply.status, reply.text[:15]) == (Status.ERR, "RecursionError:")
    assert host.call("echo", body=b"x", on="thread", stack=RUST).reply.data == b"x"


def hold_the_pool(host: NrHost) -> tuple[int, list[int]]:
    """The only worker is in a handler that waits, and four threads with little stack wait for it."""
    sid = host.submit("hold").sid
    assert host.call("wait_held").reply.text == "True"
    jobs = [host.start_call("echo", body=b"small", on="thread", stack=SMALL) for _ in range(4)]
    until(lambda: host.call("queued").reply.text == "4")
    return sid, jobs


def test_small_stacks_wait_for_a_worker_that_is_held(host: NrHost) -> None:
    sid, jobs = hold_the_pool(host)
    assert host.call("echo", body=b"large").reply.data == b"large"
    assert host.call("release").reply.status == Status.OK
    assert host.wait(sid).reply.status == Status.OK
    assert [host.join_call(job).reply.data for job in jobs] == [b"small"] * 4


def test_small_stacks_wait_for_a_worker_that_never_comes(start_host: StartHost, deep: Path) -> None:
    """Shutdown lets them go."""
    host = start_host(resident_threads=CORE_THREADS + 1)
    assert host.load(deep) == Status.OK
    sid, jobs = hold_the_pool(host)
    host.shutdown()
    assert host.wait(sid).reply.text == "the plugin is shutting down"
    for call in [host.join_call(job) for job in jobs]:
        assert call.handle == Status.ERR or call.reply.text == "the plugin is shutting down"
