"""Loading and unloading again and again: memory, threads and descriptors stay where they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import ROOT, BuildPlugin, StartHost, check_flat
from nrhost import Status

ROUNDS = 100

ECHO = """
    import json
    import logging
    import threading
    from nylon_ring_py import Plugin

    plugin = Plugin("echo")
    held = bytearray(2_000_000)
    local = threading.local()

    class Circle:
        def __init__(self):
            self.me = self
            self.held = bytearray(200_000)

    @plugin.handle("echo")
    def echo(req):
        local.circle = Circle()
        logging.getLogger("echo").debug("never shown")
        return req.body

    @plugin.handle_sync("sync")
    def sync(req):
        local.circle = Circle()
        return req.body

    @plugin.handle("feed")
    def feed(req):
        for i in range(3):
            yield str(i)
"""


@pytest.fixture(scope="module")
def echo(build_once: BuildPlugin) -> Path:
    return build_once(ECHO, "echo")


@pytest.fixture(scope="module")
def hello(build_once: BuildPlugin) -> Path:
    return build_once(ROOT / "examples/hello.py", "hello")


def test_many_loads_in_one_process(start_host: StartHost, echo: Path, hello: Path) -> None:
    """Each round is load, call, shutdown, dlclose; then the same with another plugin."""
    host = start_host()
    check_flat(host, lambda: host.cycle(echo, n=ROUNDS, entry="echo", body=b"x"))
    check_flat(host, lambda: host.cycle(hello, n=ROUNDS, entry="unary", path="/"))


def test_many_loads_from_threads_that_end(start_host: StartHost, echo: Path) -> None:
    """A thread state for every host thread is made, and goes when the thread ends, before or after the dlclose."""
    host = start_host()

    def rounds() -> None:
        for _ in range(ROUNDS // 2):
            assert host.load(echo, on="thread") == Status.OK
            for _ in range(3):
                assert host.call("sync", body=b"x", on="thread").reply.data == b"x"
            host.unload()

    check_flat(host, rounds)


COLLECTS = """
    import gc
    import threading
    import time
    from nylon_ring_py import Plugin

    plugin = Plugin("collects")
    stands = threading.Event()

    class Circle:
        def __init__(self):
            self.me = self

        def __del__(self):
            watchers, until = len(gc.callbacks), time.monotonic() + 60
            stands.set()
            while len(gc.callbacks) == watchers and time.monotonic() < until:
                time.sleep(0.001)         # until the other plugin's unload has begun to collect
            time.sleep(0.01)

    @plugin.handle_raw("collect")
    def collect(payload):
        Circle()
        gc.collect()
        return b""

    @plugin.handle_raw("stands", sync=True)
    def show_stands(payload):
        return b"yes" if stands.wait(60) else b"no"
"""

COLLECTED = """
    import os
    import pathlib
    import weakref
    from nylon_ring_py import Plugin

    plugin = Plugin("collected")

    class Kept:
        pass

    kept = Kept()

    @plugin.on_init
    def init():
        weakref.finalize(kept, pathlib.Path(os.environ["TEST_COLLECTED"]).touch)
"""


def test_a_plugin_goes_while_a_finalizer_stands(start_host: StartHost, build_once: BuildPlugin, tmp_path: Path) -> None:
    """Python collects nothing for a second thread while one collection is under way."""
    told = tmp_path / "collected"
    host = start_host(env={"TEST_COLLECTED": str(told)})
    assert host.load(build_once(COLLECTS, "collects"), plugin="collects") == Status.OK
    assert host.load(build_once(COLLECTED, "collected"), plugin="collected") == Status.OK
    sid = host.submit("collect", plugin="collects").sid
    assert host.call("stands", plugin="collects").reply.data == b"yes"
    host.unload(plugin="collected")
    assert told.exists()
    assert host.wait(sid, plugin="collects").reply.status == Status.OK


def test_a_host_thread_outlives_the_plugin(start_host: StartHost, echo: Path) -> None:
    """It called a plugin that is gone when its thread state goes: nothing of the plugin may be needed for that."""
    host = start_host()
    assert host.load(echo) == Status.OK
    for place in ("pool:1", "pool:2", "main"):
        assert host.call("sync", body=b"x", on=place).reply.data == b"x"
    host.unload()
    assert host.load(echo) == Status.OK
    assert host.call("sync", body=b"again", on="pool:1").reply.data == b"again"


def test_two_loads_of_one_file_take_turns(start_host: StartHost, echo: Path) -> None:
    """One image, two instances; always one of them is open while the other goes and comes."""
    host = start_host()

    def rounds() -> None:
        assert host.load(echo, plugin="a") == Status.OK
        old, new = "a", "b"
        for i in range(ROUNDS):
            assert host.load(echo, plugin=new) == Status.OK
            sid = host.submit("echo", plugin=old, body=b"old").sid
            assert host.call("echo", plugin=new, body=b"new").reply.data == b"new"
            assert host.wait(sid, plugin=old).reply.data == b"old"
            host.unload(plugin=old)
            assert host.call("echo", plugin=new, body=b"%d" % i).reply.data == b"%d" % i
            old, new = new, old
        host.unload(plugin=old)

    check_flat(host, rounds)


def test_the_reloaded_instance_has_modules_of_its_own(start_host: StartHost, build: BuildPlugin) -> None:
    """The new init runs before the old shutdown: neither sees the other's globals."""
    source = """
        from nylon_ring_py import Plugin

        plugin = Plugin("count")
        count = 0

        @plugin.handle("next")
        def next_number(req):
            global count
            count += 1
            return str(count)
    """
    host = start_host()
    file = build(source)
    assert host.load(file, plugin="old") == Status.OK
    assert [host.call("next", plugin="old").reply.text for _ in range(3)] == ["1", "2", "3"]
    assert host.load(file, plugin="new") == Status.OK
    assert host.call("next", plugin="new").reply.text == "1"
    assert host.call("next", plugin="old").reply.text == "4"
    host.unload(plugin="old")
    assert host.call("next", plugin="new").reply.text == "2"


@pytest.mark.parametrize("how", ["unlinked", "replaced"])
def test_the_file_goes_between_dlopen_and_init(
    start_host: StartHost, tmp_path: Path, echo: Path, hello: Path, how: str
) -> None:
    """What is mapped is what runs."""
    file = tmp_path / "plugin.so"
    shutil.copy(echo, file)
    host = start_host()
    host.load(file, get_only=True)
    if how == "unlinked":
        file.unlink()
    else:
        other = tmp_path / "other.so"
        shutil.copy(hello, other)
        other.replace(file)
    assert host.init() == Status.OK
    assert host.call("echo", body=b"mapped").reply.data == b"mapped"


def test_a_new_file_under_the_old_name(start_host: StartHost, tmp_path: Path, echo: Path, hello: Path) -> None:
    """Replaced by renaming, as build-plugin does. As long as the old image is open the dynamic loader gives that one
    for the name; once all its instances are gone the new file is read."""
    file = tmp_path / "plugin.so"
    shutil.copy(echo, file)
    host = start_host()
    assert host.load(file, plugin="old") == Status.OK
    other = tmp_path / "other.so"
    shutil.copy(hello, other)
    other.replace(file)
    assert host.load(file, plugin="new") == Status.OK
    assert host.call("echo", plugin="new", body=b"mapped").reply.data == b"mapped"
    host.unload(plugin="old")
    assert host.call("echo", plugin="new", body=b"mapped").reply.data == b"mapped"
    host.unload(plugin="new")
    assert host.load(file) == Status.OK
    assert host.call("unary", path="/new").reply.text == "OK: /new"


def test_shutdown_and_init_again_need_a_new_instance(start_host: StartHost, echo: Path) -> None:
    host = start_host()
    assert host.load(echo) == Status.OK
    host.shutdown()
    assert host.init() == Status.INVALID
    assert host.call("echo").handle == Status.INVALID
