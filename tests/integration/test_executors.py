"""Handlers in executors, through a host that is no Python: threads, spawned processes, and what becomes of them."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

SOURCE = """
    import contextvars
    import multiprocessing
    import os
    import signal
    import sys
    import threading
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from nylon_ring_py import HandlerError, Plugin, Response, Status

    spawn = multiprocessing.get_context("spawn")

    def start_worker(word):
        global started
        started = word

    def processes():
        return ProcessPoolExecutor(2, mp_context=spawn, initializer=start_worker, initargs=("initialized",))

    plugin = Plugin("pools", version="1", executor=processes, shutdown_timeout_s={timeout_s})
    threads = ThreadPoolExecutor(4, thread_name_prefix="author")
    word = contextvars.ContextVar("word", default="none")

    @plugin.handle("echo")
    def echo(req):
        return f"{{req.method}} {{req.path}}?{{req.query}} {{req.headers['X-A']}} {{req.body.decode()}} " \\
            f"{{req.entry}} {{req.has_metadata}}"

    @plugin.handle_raw("raw")
    def raw(payload):
        return bytearray(payload[::-1])

    @plugin.handle("where")
    def where(req):
        executable = os.readlink("/proc/self/exe")
        return f"{{os.getpid()}} {{os.getppid()}} {{executable}} {{sys.executable}} {{__name__}} {{started}}"

    @plugin.handle("view")
    def view(req):
        return Response(memoryview(b"a-b-c")[::2], status=Status.UNSUPPORTED)

    @plugin.handle("wrong")
    def wrong(req):
        return 7

    @plugin.handle("fail")
    def fail(req):
        raise KeyError("no such thing")

    @plugin.handle("refuse")
    def refuse(req):
        raise HandlerError(Status.INVALID, "not like that")

    @plugin.handle("leave")
    def leave(req):
        sys.exit(3)

    @plugin.handle("state")
    def state(req):
        req.state.set("a", b"b")

    @plugin.handle("context")
    def context(req):
        before = word.get()
        word.set(req.path)
        return before

    @plugin.handle("signals")
    def signals(req):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return repr(sorted(mask))

    @plugin.handle("wait")
    def wait(req):
        with open(req.path, "w") as fifo:
            fifo.write(str(os.getpid()))
        with open(req.query) as fifo:
            return fifo.read()

    @plugin.handle("local", executor=threads)
    def local(req):
        return f"{{os.getpid()}} {{threading.current_thread().name}}"

    @plugin.handle("local_fail", executor=threads)
    def local_fail(req):
        raise KeyError("no such thing")

    @plugin.handle("local_wrong", executor=threads)
    def local_wrong(req):
        return 7

    @plugin.handle("local_context", executor=threads)
    def local_context(req):
        return context(req)

    @plugin.handle("local_state", executor=threads)
    def local_state(req):
        req.state.set("a", b"b")
        return req.state.get("a")

    @plugin.handle("local_wait", executor=threads)
    def local_wait(req):
        return wait(req)

    @plugin.handle_sync("here")
    def here(req):
        return str(os.getpid())

    @plugin.handle("frames")
    def frames(req):
        yield str(os.getpid())
"""


@pytest.fixture(scope="module")
def pools(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE.format(timeout_s=10), "pools")


@pytest.fixture(scope="module")
def hasty(build_once: BuildPlugin) -> Path:
    """The same with a shutdown_timeout_s that runs out."""
    return build_once(SOURCE.format(timeout_s=0.3), "hasty")


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[Path, Path]:
    """Where the handler `wait` says that it is in, and where it waits."""
    paths = tmp_path / "in", tmp_path / "out"
    for path in paths:
        os.mkfifo(path)
    return paths


def loaded(start_host: StartHost, plugin: Path) -> NrHost:
    host = start_host()
    assert host.load(plugin) == Status.OK, host.stderr_tail()
    return host


def wait_until_gone(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(handle):
        assert select.select([handle], [], [], 60.0)[0], f"process {pid} lives on"


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


# ---- signals ----


def blocked_signals(task: Path) -> int:
    line = next(line for line in (task / "status").read_text().splitlines() if line.startswith("SigBlk:"))
    return int(line.split()[1], 16)


def test_workers_can_be_told_to_terminate(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools)
    assert host.call("signals").reply.text == "[]"
    sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    os.kill(int(fifos[0].read_text()), signal.SIGTERM)
    assert host.wait(sid).reply.text.startswith("BrokenProcessPool: ")


def test_the_host_s_threads_and_ours_keep_their_masks(start_host: StartHost, pools: Path) -> None:
    """A host that takes SIGTERM by sigwait has it blocked in all threads; multiprocessing unblocks it as it pleases."""
    bit = 1 << (signal.SIGTERM - 1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        host = loaded(start_host, pools)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    host.call("where")
    host.call("local")
    tasks = list(Path(f"/proc/{host.pid}/task").iterdir())
    assert len(tasks) > 4
    assert [task.name for task in tasks if not blocked_signals(task) & bit] == []


# ---- workers that die ----


def test_calls_lost_with_a_worker_are_answered(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools)
    asked = {"path": str(fifos[0]), "query": str(fifos[1])}
    sids = [host.submit("wait", **asked).sid for _ in range(12)]  # type: ignore[arg-type]
    os.kill(int(fifos[0].read_text()), signal.SIGKILL)
    replies = [host.wait(sid).reply for sid in sids]
    assert {reply.status for reply in replies} == {Status.ERR}
    assert {reply.text.partition(":")[0] for reply in replies} == {"BrokenProcessPool"}
    assert [host.call("raw", door="raw", body=b"ab").reply.data for _ in range(8)] == [b"ba"] * 8


def test_a_pool_that_no_function_can_make_anew_stays_broken(start_host: StartHost, build: BuildPlugin) -> None:
    plugin = build(
        """
        import multiprocessing, os
        from concurrent.futures import ProcessPoolExecutor
        from nylon_ring_py import Plugin

        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        plugin = Plugin("once", executor=pool)

        @plugin.handle("die")
        def die(req):
            os._exit(1)

        @plugin.handle("echo")
        def echo(req):
            return req.body
        """,
        "once",
    )
    host = loaded(start_host, plugin)
    assert host.call("echo", body=b"x").reply.data == b"x"
    assert [host.call("die").reply.text.partition(":")[0] for _ in range(2)] == ["BrokenProcessPool"] * 2
    assert host.call("echo").reply.status == Status.ERR


def test_workers_end_with_a_host_that_is_killed(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = start_host(clean=False, leaks=False)
    assert host.load(pools) == Status.OK
    host.submit("wait", path=str(fifos[0]), query=str(fifos[1]))
    busy = int(fifos[0].read_text())
    idle = int(host.call("where").reply.text.split()[0])
    assert busy != idle
    os.kill(host.pid, signal.SIGKILL)
    wait_until_gone(busy)
    wait_until_gone(idle)


# ---- the end ----


def test_running_calls_may_finish(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools)
    for entry in ("wait", "local_wait"):
        sid = host.submit(entry, path=str(fifos[0]), query=str(fifos[1])).sid
        fifos[0].read_text()
        job = host.start_shutdown()
        while host.call("here").handle == Status.OK:
            pass
        fifos[1].write_text("done")
        host.join(job)
        assert host.wait(sid).reply.text == "done"
        host.unload()
        assert host.load(pools) == Status.OK


def test_a_worker_that_never_ends(start_host: StartHost, hasty: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, hasty)
    sids = [host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid for _ in range(9)]
    pid = int(fifos[0].read_text())
    host.shutdown()
    assert {host.wait(sid).reply.text for sid in sids} == {"the plugin is shutting down"}
    wait_until_gone(pid)
    host.unload()
    assert host.process().children == 0


def test_a_worker_that_ignores_sigterm_is_killed(start_host: StartHost, build: BuildPlugin) -> None:
    plugin = build(
        """
        import multiprocessing, signal, time
        from concurrent.futures import ProcessPoolExecutor
        from nylon_ring_py import Plugin

        def pool():
            return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

        plugin = Plugin("stubborn", executor=pool, shutdown_timeout_s=0.2)

        @plugin.handle("stay")
        def stay(req):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with open(req.path, "w") as fifo:
                fifo.write("in")
            while True:
                time.sleep(60)
        """,
        "stubborn",
    )
    host = loaded(start_host, plugin)
    fifo = plugin.parent / "fifo"
    os.mkfifo(fifo)
    sid = host.submit("stay", path=str(fifo)).sid
    fifo.read_text()
    host.shutdown()
    assert host.wait(sid).reply.text == "the plugin is shutting down"


def test_a_thread_that_never_ends(start_host: StartHost, hasty: Path, fifos: tuple[Path, Path]) -> None:
    """It is left behind, as a worker of the core's own would be, and said so."""
    host = loaded(start_host, hasty)
    sid = host.submit("local_wait", path=str(fifos[0]), query=str(fifos[1])).sid
    fifos[0].read_text()
    host.shutdown()
    assert host.wait(sid).reply.text == "the plugin is shutting down"
    assert "threads of an executor run on after the plugin's end: author_0" in host.stderr_tail()
    host.unload()
    fifos[1].write_text("")


def test_many_loads_leave_nothing(start_host: StartHost, pools: Path) -> None:
    host = start_host()
    for _ in range(100):
        assert host.load(pools) == Status.OK
        assert host.call("raw", door="raw", body=b"ab").reply.data == b"ba"
        host.unload()
        now = host.process()
        assert now.children == 0
    host.load(pools)


def test_a_failed_init_ends_its_executors(start_host: StartHost, build: BuildPlugin) -> None:
    plugin = build(
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        from nylon_ring_py import Plugin

        made = []

        def pool():
            made.append(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))
            return made[0]

        threads = ThreadPoolExecutor(2)
        plugin = Plugin("failing", executor=pool)

        @plugin.handle("echo")
        def echo(req):
            return req.body

        @plugin.handle("other", executor=threads)
        def other(req):
            return req.body

        @plugin.on_init
        def init():
            assert made[0].submit(int, "7").result() + threads.submit(int, "7").result() == 14
            raise OSError("no database")
        """,
        "failing",
    )
    host = start_host()
    for _ in range(3):
        assert host.load(plugin) == Status.ERR
        assert "OSError: no database" in host.stderr_tail()
        assert host.process().children == 0


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
