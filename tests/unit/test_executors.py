"""What may stand under executor=, requests that travel, and the far end of a call without any transport."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import os
import pickle
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nylon_ring_py import Plugin, RegistrationError, Request, Status
from nylon_ring_py._pools import begin
from nylon_ring_py._remote import Outcome, PluginFiles, RemoteJob
from nylon_ring_py.build.payload import pack_archive
from nylon_ring_py.errors import NotBoundError
from nylon_ring_py.executors import open_executor
from nylon_ring_py.testing import FakeHost

SPAWN = multiprocessing.get_context("spawn")


class _Client:
    """Has what a dask Client has."""

    def __init__(self, executor: object) -> None:
        self.executor = executor

    def get_executor(self) -> object:
        return self.executor


class _Own(Executor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise NotImplementedError


def _handler(req: Request) -> bytes:
    return req.body


def _raw(payload: bytes) -> bytes:
    return payload


async def _coroutine() -> None: ...


def _generator() -> Any:
    yield


GOOD = [
    ThreadPoolExecutor(1),
    ProcessPoolExecutor(1, mp_context=SPAWN),
    _Own(),
    _Client(_Own()),
    ThreadPoolExecutor,
    lambda: None,
    lambda size=2: None,
    partial(ThreadPoolExecutor, 3),
]

WRONG = [
    (7, "executor is of type int, but must be a concurrent.futures.Executor"),
    ("threads", "executor is of type str"),
    (lambda size: None, "a function with arguments"),
    (_Client, "a function with arguments"),
    (_coroutine, "a coroutine or a generator"),
    (_generator, "a coroutine or a generator"),
    (ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")), "start method 'fork'.*locks of all"),
    (ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")), "start method 'forkserver'.*server"),
]


@pytest.mark.parametrize("executor", GOOD)
def test_what_fits(executor: object) -> None:
    plugin = Plugin("x", executor=executor)
    plugin.handle("a", executor=executor)(_handler)
    plugin.handle_raw("b", executor=executor)(_raw)


@pytest.mark.parametrize(("executor", "reason"), WRONG)
def test_what_does_not_fit_is_refused_at_import(executor: object, reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason):
        Plugin("x", executor=executor)
    with pytest.raises(RegistrationError, match=f"entry 'a'.*{reason}"):
        Plugin("x").handle("a", executor=executor)(_handler)


def test_the_way_out_is_named() -> None:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    with pytest.raises(RegistrationError, match=r'mp_context=multiprocessing.get_context\("spawn"\)'):
        Plugin("x", executor=pool)


def test_nothing_is_made_or_asked_at_import() -> None:
    def refuse() -> None:
        raise AssertionError("made at import")

    Plugin("x", executor=refuse)
    Plugin("x", executor=_Client(7))


def test_what_a_value_stands_for() -> None:
    own = _Own()
    client = _Client(own)
    assert open_executor(own).executor is own
    assert (open_executor(client).executor, open_executor(client).client) == (own, None)
    made = open_executor(lambda: client)
    assert (made.executor, made.client) == (own, client)
    for wrong in (lambda: 7, lambda: None, _Client(7), lambda: _Client(7)):
        with pytest.raises(TypeError, match=r"must make an Executor or a Client|which is no Executor"):
            open_executor(wrong)


# ---- requests that travel ----


def _request(**changes: Any) -> Request:
    fields: dict[str, Any] = {
        "method": "PUT",
        "path": "/a",
        "query": "q=1",
        "headers": [("A", b"\xff"), ("a", "2")],
        "body": b"body",
        "entry": "x",
        "sid": 2**64 - 1,
    }
    return Request(**{**fields, **changes})


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("has_metadata", [True, False])
def test_a_request_is_pickled_by_value(protocol: int, has_metadata: bool) -> None:
    request = _request(has_metadata=has_metadata)
    other = pickle.loads(pickle.dumps(request, protocol))
    for field in ("method", "path", "query", "headers", "headers_raw", "body", "entry", "sid", "has_metadata", "args"):
        assert getattr(other, field) == getattr(request, field)
    assert other.has_metadata is has_metadata


@pytest.mark.parametrize("take", [copy.copy, lambda request: pickle.loads(pickle.dumps(request))])
def test_a_copy_has_no_state(take: Any) -> None:
    request = _request()
    request.state.set("a", b"b")
    with pytest.raises(NotBoundError, match=r"entry 'x' is a copy.*stays with the host"):
        _ = take(request).state
    assert request.state.get("a") == b"b"


# ---- the far end ----

SOURCE = """
from nylon_ring_py import HandlerError, Plugin, Response, Status

plugin = Plugin("far")

class Str(str): pass

class Bytes(bytes): pass

RESULTS = {
    "none": None, "str": "\\u00e4", "own str": Str("s"), "own bytes": Bytes(b"b"), "bytearray": bytearray(b"ab"),
    "view": memoryview(b"abcd")[::-2], "response": Response("r", Status.UNSUPPORTED), "surrogate": "\\udcff", "int": 7,
}

@plugin.handle_raw("result")
def result(payload):
    return RESULTS[payload.decode()]

@plugin.handle("refuse")
def refuse(req):
    raise HandlerError(Status.INVALID, "no")
"""


def _job(entry: str, argument: object, source: str = SOURCE, *, archive: bool = True, name: str = "plugin") -> Outcome:
    files = pack_archive({"far.py": source.encode()})
    address = (f"{hash(source)}", "far", "far", name, "/opt/far.so")
    job = pickle.loads(pickle.dumps(RemoteJob(entry, argument, address, files if archive else None)))
    outcome = pickle.loads(pickle.dumps(job()))
    assert type(outcome) is Outcome
    return outcome


@pytest.mark.parametrize(
    ("what", "status", "data"),
    [
        ("none", Status.OK, None),
        ("str", Status.OK, b"\xc3\xa4"),
        ("own str", Status.OK, b"s"),
        ("own bytes", Status.OK, b"b"),
        ("bytearray", Status.OK, b"ab"),
        ("view", Status.OK, b"db"),
        ("response", Status.UNSUPPORTED, b"r"),
    ],
)
def test_results_become_bytes(what: str, status: Status, data: bytes | None) -> None:
    outcome = _job("result", what.encode())
    assert (outcome.status, outcome.data, outcome.failure, outcome.missing) == (status, data, None, False)
    assert type(outcome.data) is type(data)


@pytest.mark.parametrize(
    ("what", "name", "text"),
    [
        ("surrogate", "UnicodeEncodeError", "UnicodeEncodeError: 'utf-8' codec"),
        ("int", "TypeError", "TypeError: cannot send int: return bytes"),
        ("unknown", "KeyError", "KeyError: 'unknown'"),
    ],
)
def test_exceptions_become_text(what: str, name: str, text: str) -> None:
    outcome = _job("result", what.encode())
    assert outcome.status == Status.ERR
    assert outcome.data is not None
    assert outcome.data.decode().startswith(text)
    assert outcome.failure is not None
    assert outcome.failure[0] == name
    assert "Traceback (most recent call last)" in outcome.failure[1]


def test_a_handler_error_is_an_answer() -> None:
    outcome = _job("refuse", _request())
    assert (outcome.status, outcome.data, outcome.failure) == (Status.INVALID, b"no", None)


def test_the_archive_is_asked_for_once() -> None:
    source = SOURCE + "# another\n"
    assert _job("refuse", _request(), source, archive=False).missing
    assert not _job("refuse", _request(), source).missing
    assert not _job("refuse", _request(), source, archive=False).missing


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("raise OSError('not here')", "plugin", b"OSError: not here"),
        (SOURCE, "other", b"PluginLookupError: /opt/far.so has no Plugin 'other'"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_there(source: str, name: str, text: bytes) -> None:
    outcome = _job("refuse", _request(), source, name=name)
    assert outcome.status == Status.ERR
    assert outcome.data is not None
    assert outcome.data.startswith(text)


# ---- without a plugin file ----

IMPORTABLE = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from nylon_ring_py import Plugin

def pool():
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

plugin = Plugin("importable", executor=pool)

@plugin.handle("pid")
def pid(req):
    return f"{os.getpid()} {__name__}"

threads = ThreadPoolExecutor(1)

@plugin.handle("thread", executor=threads)
def thread(req):
    return str(os.getpid())
"""


def test_executors_in_a_fake_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes import the author's module as the test has."""
    (tmp_path / "executors_importable.py").write_text(IMPORTABLE)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("executors_importable")
    monkeypatch.setitem(sys.modules, "executors_importable", module)
    for _ in range(2):
        with FakeHost(module.plugin) as host:
            pid, name = host.call("pid").text.split()
            assert int(pid) != os.getpid()
            assert name == "executors_importable"
            assert int(host.call("thread").text) == os.getpid()
    assert multiprocessing.active_children() == []


def test_a_plugin_of_no_module_says_so_in_a_fake_host() -> None:
    plugin = Plugin("nowhere", executor=lambda: ProcessPoolExecutor(1, mp_context=SPAWN))
    plugin.handle("a")(_handler)
    with FakeHost(plugin) as host:
        reply = host.call("a")
        assert reply.status == Status.ERR
        assert "'nowhere' is no name of the module that its handlers are in" in reply.text


class _Breaking(ThreadPoolExecutor):
    """Breaks as it takes its first call, and looks at it no more: as Python 3.11's process pools may."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._broken: Any = "a worker was killed"
        return Future()


if sys.version_info < (3, 12):  # later ones take a lock

    def test_a_pool_that_breaks_while_calls_come_in_ends_all_it_has() -> None:
        files = PluginFiles(("", "breaking", "breaking", "plugin", ""), None)
        pool = begin(partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn")), files).executor
        assert isinstance(pool, ProcessPoolExecutor)
        futures = [pool.submit(time.sleep, 600) for _ in range(8)]
        manager: Any = pool._executor_manager_thread
        assert manager is not None

        def comes_in_between(_: Future[None]) -> None:
            pool._pending_work_items[1000 + len(pool._pending_work_items)] = None  # type: ignore[assignment]

        for future in futures:
            future.add_done_callback(comes_in_between)
        for process in pool._processes.values():
            process.kill()
        for future in futures:
            assert isinstance(future.exception(60), BrokenExecutor)
        manager.join(60)
        assert not manager.is_alive()


def test_a_call_that_a_pool_takes_as_it_breaks_goes_to_the_next() -> None:
    pools: list[ThreadPoolExecutor] = [_Breaking(1), ThreadPoolExecutor(1)]
    calls = []
    plugin = Plugin("breaking", executor=lambda: pools.pop(0))

    @plugin.handle("call")
    def call(req: Request) -> bytes:
        calls.append(req.sid)
        return req.body

    with FakeHost(plugin) as host:
        assert host.call("call", body=b"once").data == b"once"
    assert len(calls) == 1


def test_a_call_that_a_pool_takes_as_it_breaks_fails_where_there_is_no_next() -> None:
    plugin = Plugin("breaking", executor=_Breaking(1))

    @plugin.handle("call")
    def call(req: Request) -> bytes:
        return req.body

    with FakeHost(plugin) as host:
        reply = host.call("call")
    assert (reply.status, reply.text) == (Status.ERR, "BrokenExecutor: the executor broke while it took the call")
