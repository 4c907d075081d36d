"""The session the core drives: from an archive to entries, through hooks, to an interpreter without a trace of it."""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nylon_ring_py import Status
from nylon_ring_py._core import GENERATOR, SYNC
from nylon_ring_py._importer import _finder
from nylon_ring_py._session import Session, failure_text, prepare_runtime, start
from nylon_ring_py.build.payload import pack_archive
from nylon_ring_py.errors import NotBoundError, PluginLookupError
from nylon_ring_py.logs import ExceptionLog

HEAD = "from nylon_ring_py import Plugin\nplugin = Plugin('shop', workers=3, max_pending=9, shutdown_timeout_s=1.5)\n"
BOOT = {"name": "shop", "module": "shop", "object": "plugin"}
ORIGIN = "/opt/shop.so"


class _Instance:
    """Stands for the core's Instance."""

    def send_result(self, sid: int, status: int, data: object) -> bool:
        return True


class _Trace(list[str]):
    """What plugin code reports to the test, through the module `nylon_test_trace`."""


@pytest.fixture(autouse=True)
def trace(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Trace]:
    seen = _Trace()
    monkeypatch.setitem(sys.modules, "nylon_test_trace", SimpleNamespace(say=seen.append))
    _finder.install()  # by the first load, and for good
    before = set(sys.modules), list(sys.meta_path), list(sys.path_hooks)
    yield seen
    assert {name for name in set(sys.modules) - before[0] if name.startswith("nylon_ring_plugin_")} == set()
    assert (sys.meta_path, sys.path_hooks) == before[1:]


def _start(source: str, boot: dict[str, str] = BOOT, instance: Any = None) -> Session:
    bound: Any = _Instance() if instance is None else instance
    archive = pack_archive({"shop.py": source.encode()})
    return start(bound, archive=archive, boot=boot, origin=ORIGIN)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR, logger="nylon_ring.shop")
    return caplog


def test_a_session_gives_the_core_what_it_needs() -> None:
    session = _start(
        HEAD + "@plugin.handle_sync('ping')\n"
        "def ping(req): return b'pong'\n"
        "@plugin.handle('feed')\n"
        "def feed(req): yield 'a'\n"
        "@plugin.stream_data\n"
        "def data(sid, frame): return (sid, frame)\n"
    )
    try:
        assert [entry[:2] for entry in session.entries()] == [("ping", SYNC), ("feed", GENERATOR)]
        assert session.entries()[0][2](None) == b"pong"
        assert session.stream_data is not None
        assert session.stream_data(1, b"x") == (1, b"x")
        assert session.stream_close is None
        assert (session.workers, session.max_pending, session.shutdown_timeout_s) == (3, 9, 1.5)
        assert session.describe_exception(ValueError("x")) == (int(Status.ERR), b"ValueError: x")
    finally:
        session.unload()


def test_the_plugin_speaks_through_its_instance() -> None:
    source = HEAD + "@plugin.on_init\ndef init(): assert plugin.send_result(1)\n"
    session = _start(source)
    session.run_init()
    session.unload()


def test_hooks_run_in_order_and_back(trace: _Trace) -> None:
    session = _start(
        HEAD + "import atexit\nfrom nylon_test_trace import say\n"
        "atexit.register(say, 'atexit 1')\n"
        "atexit.register(say, 'atexit 2')\n"
        "plugin.on_init(lambda: say('init 1'))\n"
        "plugin.on_init(lambda: say('init 2'))\n"
        "plugin.on_shutdown(lambda: say('bye 1'))\n"
        "plugin.on_shutdown(lambda: say('bye 2'))\n"
    )
    session.run_init()
    session.run_shutdown()
    session.unload()
    assert trace == ["init 1", "init 2", "bye 2", "bye 1", "atexit 2", "atexit 1"]


def test_a_failing_on_init_stops_there_and_still_leaves_in_order(trace: _Trace) -> None:
    session = _start(
        HEAD + "import atexit\nfrom nylon_test_trace import say\n"
        "atexit.register(say, 'atexit')\n"
        "@plugin.on_init\n"
        "def connect(): raise OSError('no database')\n"
        "plugin.on_init(lambda: say('init 2'))\n"
        "plugin.on_shutdown(lambda: say('bye'))\n"
    )
    with pytest.raises(OSError, match="no database"):
        session.run_init()
    session.unload()
    assert trace == ["atexit"]


def test_shutdown_goes_on_past_every_failure(trace: _Trace, logged: pytest.LogCaptureFixture) -> None:
    session = _start(
        HEAD + "import atexit\nfrom nylon_test_trace import say\n"
        "def broken(): raise ValueError('at exit')\n"
        "atexit.register(say, 'atexit')\n"
        "atexit.register(broken)\n"
        "plugin.on_shutdown(lambda: say('bye'))\n"
        "@plugin.on_shutdown\n"
        "def quits(): raise SystemExit(3)\n"
    )
    session.run_shutdown()
    session.unload()
    assert trace == ["bye", "atexit"]
    assert logged.messages == ["on_shutdown quits raised SystemExit", "an atexit callback raised ValueError"]
    assert ORIGIN in logged.text


def test_shutdown_flushes_handlers_and_streams_and_closes_none(
    monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    class Full(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1
            raise OSError("disk full")

    full, good, closed = Full(), logging.StreamHandler(io.StringIO()), io.StringIO()
    closed.close()
    flushed: list[bool] = []
    monkeypatch.setattr(good, "flush", lambda: flushed.append(True))
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "stderr", closed)
    logger = logging.getLogger("shop_of_someone")
    logger.addHandler(good)
    session = _start(HEAD)
    try:
        session.run_shutdown()
    finally:
        logger.removeHandler(good)
        session.unload()
    assert flushed
    assert full.flushed
    assert "flushing the standard streams raised OSError" in logged.messages


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_host_without_standard_streams_is_fine(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    monkeypatch.setattr(sys, stream, None)
    prepare_runtime()
    session = _start(HEAD)
    session.run_shutdown()
    session.unload()


def test_a_runtime_of_ours_buffers_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # without reconfigure
    prepare_runtime()
    assert stdout.line_buffering
    assert "threading" in sys.modules


def test_what_was_left_out_of_the_log_is_counted_at_shutdown(logged: pytest.LogCaptureFixture) -> None:
    session = _start(HEAD)
    session._log = ExceptionLog("shop", per_second=1, clock=lambda: 0.0)
    for sid in range(4):
        session.log_exception("entry 'a'", sid, ValueError("x"))
    session.run_shutdown()
    session.unload()
    assert logged.messages == [
        "entry 'a' raised ValueError (sid 0)",
        "entry 'a' raised ValueError 3 more times; their tracebacks were left out",
    ]


def test_unload_lets_everything_go() -> None:
    session = _start(
        HEAD + "class Held: pass\n"
        "held = Held()\n"
        "@plugin.handle('a')\n"
        "def a(req): return held\n"
        "plugin.stream_data(lambda sid, data: held)\n"
        "plugin.stream_close(lambda sid: held)\n"
    )
    held = weakref.ref(session.entries()[0][2](None))
    assert held() is not None
    session.unload()
    assert held() is None
    assert session.entries() == []
    session.unload()
    session.run_init()
    session.run_shutdown()


def test_an_unloaded_plugin_has_no_host() -> None:
    session = _start(HEAD)
    plugin: Any = session._plugin
    session.unload()
    with pytest.raises(NotBoundError):
        plugin.send_result(1)


def test_two_loads_of_one_file_do_not_meet() -> None:
    source = HEAD + "@plugin.handle('a')\ndef a(req): return plugin\n"
    one, two = _start(source), _start(source)
    try:
        assert one.entries()[0][2](None) is not two.entries()[0][2](None)
    finally:
        one.unload()
        two.unload()


def test_an_object_may_be_an_attribute_of_another() -> None:
    source = HEAD + "class app: made = plugin\n"
    _start(source, BOOT | {"object": "app.made"}).unload()


# ---- what cannot be started


@pytest.mark.parametrize("key", ["module", "object"])
def test_an_incomplete_boot_record_is_named(key: str) -> None:
    with pytest.raises(PluginLookupError, match=f"the boot record of {ORIGIN} has no '{key}'"):
        _start(HEAD, {name: value for name, value in BOOT.items() if name != key})


def test_a_missing_object_is_told_with_what_is_there() -> None:
    with pytest.raises(PluginLookupError, match=r"built for the object 'other'.*the Plugin objects: plugin\)"):
        _start(HEAD, BOOT | {"object": "other"})


def test_an_object_that_is_no_plugin() -> None:
    with pytest.raises(
        PluginLookupError, match=r"'plugin' in /opt/shop\.so is of type int, not a nylon_ring_py\.Plugin"
    ):
        _start("plugin = 5\n")


def test_a_module_that_fails_leaves_nothing_behind(trace: _Trace, logged: pytest.LogCaptureFixture) -> None:
    source = (
        "import atexit\nfrom nylon_test_trace import say\natexit.register(say, 'atexit')\n"
        "def bad(): raise ValueError('at exit')\natexit.register(bad)\nraise SystemExit('no licence')\n"
    )
    with pytest.raises(SystemExit, match="no licence"):
        _start(source)
    assert trace == ["atexit"]
    assert logged.messages == ["an atexit callback raised ValueError"]


def test_a_plugin_that_is_loaded_already_stays_with_its_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from nylon_ring_py import Plugin

    shared = Plugin("shared")
    monkeypatch.setitem(sys.modules, "nylon_test_shared", SimpleNamespace(plugin=shared))
    source = "from nylon_test_shared import plugin\n"
    instance: Any = _Instance()
    first = _start(source, instance=instance)
    with pytest.raises(RuntimeError, match="one Plugin object serves one load"):
        _start(source)
    assert shared._instance is instance
    first.unload()
    _start(source).unload()


def test_the_failure_text_shows_the_plugin_and_where_python_looked() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        _start("def helper():\n    import nylon_no_such_module\nhelper()\n")
    text = failure_text(caught.value)
    assert "ModuleNotFoundError: No module named 'nylon_no_such_module'" in text
    assert f'File "{ORIGIN}/shop.py", line 3, in <module>' in text
    assert f'File "{ORIGIN}/shop.py", line 2, in helper' in text
    assert f"{os.sep}_importer.py" not in text
    assert f"{os.sep}_session.py" not in text
    assert f"prefix {sys.prefix}, sys.path:\n" in text
    assert all(f"  {entry}\n" in text for entry in sys.path)


def test_the_failure_text_clears_causes_and_groups_too() -> None:
    def load() -> Exception:
        try:
            _start("1 / 0\n")
        except ZeroDivisionError as exc:
            return exc
        raise AssertionError("it loaded")

    error = RuntimeError("outer")
    error.__cause__ = load()
    error.__context__ = error.__cause__
    text = failure_text(ExceptionGroup("several", [error, load()]))
    assert text.count("ZeroDivisionError: division by zero") == 2
    assert f"{os.sep}_importer.py" not in text
    assert f"{os.sep}_session.py" not in text


def test_the_failure_text_survives_a_hostile_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traceback.TracebackException.from_exception", lambda exc: 1 / 0)
    text = failure_text(ValueError("why"))
    assert text.startswith("ValueError: why\n(its traceback cannot be shown: ZeroDivisionError)\nPython 3.")


def test_a_failed_start_can_be_collected() -> None:
    source = "class Held: pass\nheld = Held()\nimport nylon_test_trace\nnylon_test_trace.say(held)\nraise ValueError\n"
    said: list[Any] = []
    sys.modules["nylon_test_trace"].say = said.append  # type: ignore[attr-defined]
    with pytest.raises(ValueError):
        _start(source)
    held = weakref.ref(said.pop())
    gc.collect()
    assert held() is None
