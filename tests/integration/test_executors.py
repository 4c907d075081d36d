"""Handlers in executors, through a host that is no Python: where they run, and what comes back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import ROOT, BuildPlugin, StartHost
from nrhost import NrHost, Status


@pytest.fixture(scope="module")
def pools(build_once: BuildPlugin) -> Path:
    return build_once(ROOT / "tests/plugins/pools.py", "pools")


def loaded(start_host: StartHost, plugin: Path, **options: object) -> NrHost:
    host = start_host(**options)
    assert host.load(plugin) == Status.OK, host.stderr_tail()
    return host


# ---- what runs where, and what comes back ----


def test_a_request_by_value(start_host: StartHost, pools: Path) -> None:
    host = loaded(start_host, pools)
    call = host.call("echo", method="PUT", path="/\u00e4", query="q=1", headers=[("x-a", "h")], body=b"body")
    assert call.reply.text == "PUT /\u00e4?q=1 h body echo True"
    assert host.call("raw", door="raw", body=b"abc").reply.data == b"cba"


def test_the_workers_are_the_environment_s_python(start_host: StartHost, pools: Path) -> None:
    host = loaded(start_host, pools)
    pid, parent, executable, python, module, started = host.call("where").reply.text.split()
    assert int(parent) == host.pid != int(pid)
    assert "python" in Path(executable).name
    assert Path(python).name.startswith("python")
    assert "python" not in Path(f"/proc/{host.pid}/exe").readlink().name
    assert (module, started) == ("nylon_ring_plugin_pools.pools", "initialized")


def test_threads_share_the_process(start_host: StartHost, pools: Path) -> None:
    host = loaded(start_host, pools)
    pid, thread = host.call("local").reply.text.split()
    assert int(pid) == host.pid
    assert thread.startswith("author")
    assert host.call("local_state").reply.text == "b"


def test_entries_that_an_executor_cannot_take_run_as_ever(start_host: StartHost, pools: Path) -> None:
    host = loaded(start_host, pools)
    assert host.call("here").reply.text == str(host.pid)
    assert host.stream("frames").frames[0].text == str(host.pid)


@pytest.mark.parametrize("entry", ["context", "local_context"])
def test_a_fresh_context_per_call(start_host: StartHost, pools: Path, entry: str) -> None:
    host = loaded(start_host, pools)
    assert {host.call(entry, path="/seen").reply.text for _ in range(8)} == {"none"}


@pytest.mark.parametrize(
    ("entry", "status", "text"),
    [
        ("view", Status.UNSUPPORTED, "abc"),
        ("fail", Status.ERR, "KeyError: 'no such thing'"),
        ("local_fail", Status.ERR, "KeyError: 'no such thing'"),
        ("refuse", Status.INVALID, "not like that"),
        ("leave", Status.ERR, "SystemExit: 3"),
    ],
)
def test_answers(start_host: StartHost, pools: Path, entry: str, status: Status, text: str) -> None:
    reply = loaded(start_host, pools).call(entry).reply
    assert (reply.status, reply.text) == (status, text)


@pytest.mark.parametrize("entry", ["wrong", "local_wrong"])
def test_a_result_that_cannot_be_sent(start_host: StartHost, pools: Path, entry: str) -> None:
    reply = loaded(start_host, pools).call(entry).reply
    text = "TypeError: cannot send int: return bytes, bytearray, memoryview, str, None or a Response"
    assert (reply.status, reply.text) == (Status.ERR, text)


def test_state_stays_with_the_host(start_host: StartHost, pools: Path) -> None:
    reply = loaded(start_host, pools).call("state").reply
    assert reply.status == Status.ERR
    assert reply.text.startswith("NotBoundError: this request of entry 'state' is a copy")


def test_the_log_has_the_traceback_of_the_worker(start_host: StartHost, pools: Path) -> None:
    host = loaded(start_host, pools)
    host.call("refuse")
    assert "not like that" not in host.stderr_tail()  # it is an answer
    host.call("fail")
    tail = host.stderr_tail()
    assert "entry 'fail' raised KeyError in a worker process (sid 2)" in tail
    assert f'{pools}/pools.py", line ' in tail
    assert 'raise KeyError("no such thing")' in tail
    host.call("local_fail")
    assert "entry 'local_fail' raised KeyError (sid 3)" in host.stderr_tail()


def test_thousands_of_calls(start_host: StartHost, pools: Path) -> None:
    host = loaded(start_host, pools)
    storm = host.storm(calls=4000, threads=8, raw="raw", unary="local", body_size=4096)
    assert (storm.accepted, storm.terminals) == (4000, 4000)


# ---- limits ----

LIMITED = """
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from nylon_ring_py import Plugin, current_call

    plugin = Plugin("limited", executor=ThreadPoolExecutor(1), max_pending=4)
    ran = []

    @plugin.handle("wait")
    def wait(req):
        Path(req.path).write_text("in")
        return Path(req.query).read_text()

    @plugin.handle("note", timeout_s=0.1)
    def note(req):
        ran.append(req.path)

    @plugin.handle_sync("noted")
    def noted(req):
        return " ".join(ran)

    @plugin.handle("call")
    def call(req):
        return f"{current_call().entry} {current_call().sid}"
"""


@pytest.fixture(scope="module")
def limited(build_once: BuildPlugin) -> Path:
    return build_once(LIMITED, "limited")


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[Path, Path]:
    """Where the handler `wait` says that it is in, and where it waits."""
    paths = tmp_path / "in", tmp_path / "out"
    for path in paths:
        os.mkfifo(path)
    return paths


def test_calls_in_an_executor_are_bounded(start_host: StartHost, limited: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, limited)
    first = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    fifos[0].read_text()
    taken = [host.submit("call") for _ in range(20)]
    assert [call.handle for call in taken] == [Status.OK] * 4 + [Status.ERR] * 16
    fifos[1].write_text("done")
    assert host.wait(first).reply.text == "done"
    assert [host.wait(call.sid).reply.text for call in taken[:4]] == [f"call {call.sid}" for call in taken[:4]]


def test_a_call_that_has_ended_before_its_turn_does_not_run(
    start_host: StartHost, limited: Path, fifos: tuple[Path, Path]
) -> None:
    host = loaded(start_host, limited)
    first = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    fifos[0].read_text()
    assert host.call("note", path="/late").reply.text.startswith("TimeoutError")
    fifos[1].write_text("done")
    assert host.wait(first).reply.text == "done"
    assert host.call("call").reply.status == Status.OK
    assert host.call("noted").reply.text == ""


# ---- executors and plugins that are not well ----


def test_an_executor_that_refuses_or_cancels(start_host: StartHost, build: BuildPlugin) -> None:
    plugin = build(
        """
        from concurrent.futures import Executor, Future
        from nylon_ring_py import Plugin

        class Refusing(Executor):
            def submit(self, fn, /, *args, **kwargs):
                raise RuntimeError("full")

        class Cancelling(Executor):
            def submit(self, fn, /, *args, **kwargs):
                future = Future()
                future.cancel()
                return future

        plugin = Plugin("unwell", executor=Refusing())

        @plugin.handle("refused")
        def refused(req):
            return req.body

        @plugin.handle("cancelled", executor=Cancelling())
        def cancelled(req):
            return req.body
        """,
        "unwell",
    )
    host = loaded(start_host, plugin)
    assert host.call("refused").reply.text == "RuntimeError: full"
    assert host.call("cancelled").reply.text == "CancelledError: the executor has cancelled the call"


def test_a_plugin_that_a_worker_cannot_import_says_why(start_host: StartHost, build: BuildPlugin) -> None:
    plugin = build(
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from nylon_ring_py import Plugin

        if multiprocessing.parent_process() is not None or multiprocessing.current_process().name != "MainProcess":
            raise RuntimeError("not here")

        def pool():
            return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

        plugin = Plugin("picky", executor=pool)

        @plugin.handle("echo")
        def echo(req):
            return req.body
        """,
        "picky",
    )
    host = loaded(start_host, plugin)
    assert [host.call("echo").reply.text for _ in range(3)] == ["RuntimeError: not here"] * 3


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("ProcessPoolExecutor(mp_context=multiprocessing.get_context('fork'))", "with the start method 'fork'"),
        ("7", "executor= has a function that made of type int"),
        ("open('/nowhere/at/all')", "FileNotFoundError"),
    ],
)
def test_a_function_that_makes_no_executor(start_host: StartHost, build: BuildPlugin, made: str, said: str) -> None:
    plugin = build(
        f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from nylon_ring_py import Plugin

        plugin = Plugin("wrong", executor=lambda: {made})

        @plugin.handle("echo")
        def echo(req):
            return req.body
        """,
        "wrong",
    )
    host = start_host()
    assert host.load(plugin) == Status.ERR
    assert said in host.stderr_tail()
