"""FakeHost: the real core in this process, what it records, and what it makes of a broken promise."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from conftest import until

from nylon_ring_py import Callback, HandlerError, Plugin, Request, Response, Status
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.testing import (
    AsyncFakeHost,
    CallTimeoutError,
    FakeHost,
    HostClosedError,
    HostError,
    PromiseBroken,
    RefusedError,
)
from nylon_ring_py.testing._instance import Abi

WAIT_S = 30.0
both_abis = pytest.mark.parametrize("abi", ["v1", "v2"])

kept: list[Callback] = []
hooks: list[str] = []
closed = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    hooks.clear()
    closed.clear()
    yield
    kept.clear()


@pytest.fixture
def plugin() -> Plugin:
    """One entry of each kind that answers in its own way."""
    made = Plugin("under_test", workers=2, shutdown_timeout_s=1)

    @made.handle("unary")
    def unary(req: Request) -> str:
        return f"{req.method} {req.path}?{req.query} {req.headers.get('A', '-')} {req.body.decode()} {req.sid}"

    @made.handle_sync("thread")
    def thread(req: Request) -> str:
        return str(threading.get_ident())

    @made.handle_raw("echo")
    def echo(payload: bytes) -> bytes:
        return payload

    @made.handle_raw("echo_sync", sync=True)
    def echo_sync(payload: bytes) -> bytes:
        return payload

    @made.handle("fails")
    def fails(req: Request) -> None:
        raise HandlerError(Status.INVALID, "no such thing") if req.body else RuntimeError("broken")

    @made.handle("unsupported")
    def unsupported(req: Request) -> Response:
        return Response(b"no", Status.UNSUPPORTED)

    @made.handle("later")
    def later(req: Request, callback: Callback) -> None:
        kept.append(callback)

    @made.handle("feed")
    def feed(req: Request) -> Iterator[str]:
        try:
            for number in range(int(req.body)):
                yield f"{number}"
        finally:
            closed.set()

    @made.handle("chat", stream=True)
    def chat(req: Request) -> str:
        req.state.set("count", "0")
        return "welcome"

    @made.stream_data
    def data(sid: int, frame: bytes) -> None:
        count = int(made.state(sid).get("count", b"0") or 0) + 1
        made.state(sid).set("count", str(count))
        made.send_result(sid, Status.OK, b"%d: %s" % (count, frame))

    @made.stream_close
    def close(sid: int) -> None:
        made.send_result(sid, Status.OK, b"bye")

    made.on_init(lambda: hooks.append("init"))
    made.on_shutdown(lambda: hooks.append("shutdown"))
    return made


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


# ---- calls ----


def test_a_request_arrives_whole(plugin: Plugin) -> None:
    with FakeHost(plugin) as host:
        reply = host.call("unary", "body", method="PUT", path="/a", query="b=1", headers={"a": "ü"}, timeout_s=WAIT_S)
        assert (reply.status, reply.text) == (Status.OK, "PUT /a?b=1 ü body 1")
        pairs: list[tuple[str | bytes, str | bytes]] = [("A", "1"), (b"A", b"\xff")]
        assert host.call("unary", memoryview(b"x"), headers=pairs, timeout_s=WAIT_S).text == " ? 1 x 2"


@both_abis
def test_every_kind_of_entry(plugin: Plugin, abi: Abi) -> None:
    with FakeHost(plugin, abi=abi) as host:
        assert host.call("thread").text == str(threading.get_ident())
        for entry in ("echo", "echo_sync"):
            assert host.call(entry, b"one").data == b"one"
            assert host.call_raw(entry, bytearray(b"two")).data == b"two"
        assert tuple(host.call("fails")) == (Status.ERR, b"RuntimeError: broken")
        assert tuple(host.call("fails", b"x")) == (Status.INVALID, b"no such thing")
        assert tuple(host.call("unsupported")) == (Status.UNSUPPORTED, b"no")
        assert [frame.data for frame in host.call_stream("feed", b"3")] == [b"0", b"1", b"2", b""]
        assert host.call("echo", None).data == b""


def test_a_long_reply_is_lent_and_given_back(plugin: Plugin) -> None:
    body = bytes(4 << 20)
    with FakeHost(plugin, abi="v2") as host:
        assert host.call("echo", body).data == body


@both_abis
def test_a_callback_answers_from_another_thread(plugin: Plugin, abi: Abi) -> None:
    with FakeHost(plugin, abi=abi) as host, ThreadPoolExecutor(1) as threads:
        with pytest.raises(CallTimeoutError, match=r"'later' of plugin 'under_test' did not answer in 0\.01 s"):
            host.call("later", timeout_s=0.01)
        until(lambda: len(kept) == 1)
        waiting = threads.submit(host.call, "later", timeout_s=WAIT_S)
        while len(kept) < 2:
            host.call("echo")
        assert kept[1](b"now")
        assert waiting.result(WAIT_S).data == b"now"
        with pytest.raises(PromiseBroken, match=r"sid 1 \(entry 'later'\) got nothing"):
            host.settle(0.01)
        assert kept[0](b"late")
        host.settle(WAIT_S)
        assert [reply.data for reply in host.calls[0].replies] == [b"late"]


def test_answers_by_sid_from_outside(plugin: Plugin) -> None:
    with FakeHost(plugin) as host:
        with host.call_stream("chat") as chat:
            assert chat.recv(WAIT_S) == Reply(b"welcome")
            assert plugin.send_result(chat.sid, Status.OK, b"hello")
            assert chat.recv(WAIT_S) == Reply(b"hello")
            assert plugin.send_result(chat.sid, Status.STREAM_END)
            assert [frame.status for frame in chat] == [Status.STREAM_END]
        assert not plugin.send_result(chat.sid, Status.OK, b"too late")
        with pytest.raises(LookupError):
            plugin.send_result(99, Status.OK)


@both_abis
def test_a_stream_both_ways(plugin: Plugin, abi: Abi) -> None:
    with FakeHost(plugin, abi=abi) as host:
        one, other = host.call_stream("chat"), host.call_stream("chat")
        one.send(b"a")
        host.send_stream_data(other.sid, "b")
        one.send(memoryview(b"c"))
        one.close_input()
        assert [tuple(frame) for frame in one] == [
            (Status.OK, b"welcome"),
            (Status.OK, b"1: a"),
            (Status.OK, b"2: c"),
            (Status.OK, b"bye"),
            (Status.STREAM_END, b""),
        ]
        assert [other.recv(WAIT_S), other.recv(WAIT_S)] == [Reply(b"welcome"), Reply(b"1: b")]
        with pytest.raises(RefusedError) as refused:
            host.close_stream(one.sid)
        assert refused.value.status == Status.INVALID


@both_abis
def test_what_a_reader_gives_up_ends_its_generator(plugin: Plugin, abi: Abi) -> None:
    with FakeHost(plugin, abi=abi) as host:
        with host.call_stream("feed", b"1000000000") as feed:
            assert feed.recv(WAIT_S) == Reply(b"0")
        assert closed.wait(WAIT_S)
        host.settle(WAIT_S)


def test_many_threads_call_at_once(plugin: Plugin) -> None:
    with FakeHost(plugin) as host, ThreadPoolExecutor(8) as threads:
        bodies = [b"%d" % number for number in range(2000)]
        replies = threads.map(lambda body: host.call("echo", body, timeout_s=WAIT_S).data, bodies)
        assert list(replies) == bodies
        assert len(host.calls) == len(host.replies) == 2000


# ---- what is refused ----


@both_abis
def test_what_the_plugin_does_not_take(plugin: Plugin, abi: Abi) -> None:
    with FakeHost(plugin, abi=abi) as host:
        for entry in ("nothing", "", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
            with pytest.raises(RefusedError, match=r"of plugin 'under_test' was refused with Status\.INVALID"):
                host.call(entry)
        with pytest.raises(RefusedError, match="a frame for stream 7"):
            host.send_stream_data(7, b"")
        assert [call.refused for call in host.calls] == [Status.INVALID] * 3
        assert host.replies == []


def test_a_full_queue(plugin: Plugin) -> None:
    began, go = threading.Event(), threading.Event()
    small = Plugin("small", workers=1, max_pending=1)

    @small.handle_raw("wait")
    def wait(payload: bytes) -> str:
        began.set()
        return str(go.wait(WAIT_S))

    for abi, full in (("v1", Status.ERR), ("v2", Status.BACKPRESSURE)):
        began.clear()
        go.clear()
        with FakeHost(small, abi=abi) as host:  # type: ignore[arg-type]  # a tuple's first item is any str
            assert _refusal(lambda: host.call_raw("wait", timeout_s=0)) is None
            assert began.wait(WAIT_S)
            refused = [_refusal(lambda: host.call_raw("wait", timeout_s=0)) for _ in range(8)]
            go.set()
            assert refused == [None] + [full] * 7
            host.settle(WAIT_S)


def _refusal(step: Callable[[], object]) -> Status | None:
    with pytest.raises((RefusedError, CallTimeoutError)) as caught:
        step()
    return caught.value.status if isinstance(caught.value, RefusedError) else None


def test_wrong_arguments(plugin: Plugin) -> None:
    with pytest.raises(TypeError, match="not str"):
        FakeHost("orders.py")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="abi is 'v1' or 'v2', not 'v3'"):
        FakeHost(plugin, abi="v3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clock is"):
        FakeHost(plugin, clock="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a v1 host has no way to say that it is full"):
        FakeHost(plugin, capacity=1)
    with pytest.raises(ValueError, match="capacity is 1 to"):
        FakeHost(plugin, abi="v2", capacity=0)
    assert hooks == []
    with FakeHost(plugin, abi="v2") as host:
        with pytest.raises(HostError, match="ABI v2 carries no method"):
            host.call("unary", path="/")
        with pytest.raises(HostError, match="'unary' of plugin 'under_test' is no stream"):
            host.call_stream("unary")
        with pytest.raises(TypeError):
            host.call("echo", 5)  # type: ignore[arg-type]
        assert host.calls == []


# ---- life ----


def test_one_plugin_after_the_other(plugin: Plugin) -> None:
    for _ in range(2):
        with FakeHost(plugin) as host:
            assert hooks[-1] == "init"
            with pytest.raises(RuntimeError, match="is loaded already"):
                FakeHost(plugin)
            assert host.call("echo", b"x").data == b"x"
        assert hooks[-1] == "shutdown"
        assert host.closed
        host.unload()
        steps: list[Callable[[], object]] = [
            lambda: host.call("echo"),
            lambda: host.call_stream("feed"),
            lambda: host.send_stream_data(1, b""),
        ]
        for step in steps:
            with pytest.raises(HostClosedError, match="plugin 'under_test' is unloaded"):
                step()
    assert hooks == ["init", "shutdown"] * 2


def test_several_at_once() -> None:
    def who(name: str, req: Request) -> str:
        return name

    plugins = [Plugin(f"number{number}") for number in range(5)]
    for each in plugins:
        each.handle("who")(partial(who, each.name))
    hosts = [FakeHost(each) for each in plugins]
    assert [host.call("who").text for host in reversed(hosts)] == [each.name for each in reversed(plugins)]
    for host in hosts:
        host.unload()


def test_an_init_that_raises(plugin: Plugin) -> None:
    broken = True

    @plugin.on_init
    def init() -> None:
        if broken:
            raise LookupError("no database")

    with pytest.raises(LookupError, match="no database") as caught:
        FakeHost(plugin)
    assert caught.traceback[-1].name == "init"
    broken = False
    with FakeHost(plugin) as host:
        assert host.call("echo", b"x").data == b"x"


def test_shutdown_answers_what_is_open(plugin: Plugin) -> None:
    with FakeHost(plugin) as host:
        chat = host.call_stream("chat")
        assert chat.recv(WAIT_S) == Reply(b"welcome")
        with pytest.raises(CallTimeoutError):
            host.call("later", timeout_s=0.01)
    assert [tuple(frame) for frame in chat] == [(Status.ERR, b"the plugin is shutting down")]
    assert [tuple(reply) for reply in host.calls[1].replies] == [(Status.ERR, b"the plugin is shutting down")]


@pytest.mark.long
def test_a_hundred_leave_nothing_behind(plugin: Plugin) -> None:
    def once() -> None:
        with FakeHost(plugin, abi="v2", capacity=2) as host:
            assert host.call("echo", b"x").data == b"x"
            assert len(list(host.call_stream("feed", b"10"))) == 11

    def resident_kib() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    gc.freeze()  # each host ends with a collection, which has this whole process to look at
    for _ in range(20):
        once()
    before, kib = tasks(), resident_kib()
    for _ in range(80):
        once()
    until(lambda: tasks() <= before)  # a thread that was joined is in /proc for a moment more
    assert resident_kib() < kib + 2048
    gc.unfreeze()


# ---- a slow receiver ----


def test_a_full_receiver_holds_the_generator_back(plugin: Plugin) -> None:
    made: list[int] = []

    @plugin.handle("count")
    def count(req: Request) -> Iterator[str]:
        for number in range(1000):
            made.append(number)
            yield str(number)

    with FakeHost(plugin, abi="v2", capacity=3) as host:
        frames = host.call_stream("count")
        until(lambda: host.refused_frames > 0)
        host.call("echo")
        assert frames.recv(WAIT_S) == Reply(b"0")
        assert len(made) < 500
        assert [frame.data for frame in frames] == [*(b"%d" % number for number in range(1, 1000)), b""]


def test_who_takes_the_first_frame_of_a_stream_wants_no_other(plugin: Plugin) -> None:
    with FakeHost(plugin, abi="v2", capacity=1) as host:
        assert host.call("feed", b"1000", timeout_s=WAIT_S).data == b"0"
        assert closed.wait(WAIT_S)


# ---- the promise; the rest of it is in test_testing_promise.py ----


def test_a_host_that_lost_a_reply_says_so_when_it_is_left(plugin: Plugin) -> None:
    host = FakeHost(plugin)
    host.call("echo")
    with pytest.raises(PromiseBroken, match=r"sid 1 \(entry 'echo'\) was taken, and its terminal reply is lost"), host:
        host.calls[0].replies.clear()
    host = FakeHost(plugin)
    host.call("echo")
    host.calls[0].replies.clear()
    with pytest.raises(ZeroDivisionError) as caught, host:
        raise ZeroDivisionError
    assert "is lost" in caught.value.__notes__[0]


# ---- asyncio ----


@both_abis
def test_from_an_event_loop(plugin: Plugin, abi: Abi) -> None:
    async def run() -> None:
        async with AsyncFakeHost(plugin, abi=abi) as host:
            assert (await host.call("echo", b"x", timeout_s=WAIT_S)).data == b"x"
            assert (await host.call("thread")).text == str(threading.get_ident())
            assert [frame.data async for frame in await host.call_stream("feed", b"2")] == [b"0", b"1", b""]
            replies = await asyncio.gather(*(host.call_raw("echo", b"%d" % number) for number in range(1000)))
            assert [reply.data for reply in replies] == [b"%d" % number for number in range(1000)]
            async with await host.call_stream("chat") as chat:
                chat.send(b"a")
                assert [await chat.recv(WAIT_S), await chat.recv()] == [Reply(b"welcome"), Reply(b"1: a")]
                chat.close_input()
                assert [frame.status async for frame in chat] == [Status.OK, Status.STREAM_END]
            with pytest.raises(RefusedError):
                await host.call("nothing")
            with pytest.raises(CallTimeoutError):
                await host.call("later", timeout_s=0.01)
            with pytest.raises(PromiseBroken):
                await host.settle(0.01)
            until(lambda: len(kept) == 1)
            kept[0](b"done")
            await host.settle(WAIT_S)
        assert host.closed

    asyncio.run(run())
    assert hooks == ["init", "shutdown"]


def test_a_slow_coroutine_holds_the_generator_back(plugin: Plugin) -> None:
    async def run() -> None:
        async with AsyncFakeHost(plugin, abi="v2", capacity=2) as host:
            feed = await host.call_stream("feed", b"500")
            until(lambda: host.refused_frames > 0)
            assert [frame.data async for frame in feed] == [*(b"%d" % number for number in range(500)), b""]

    asyncio.run(run())


def test_another_thread_than_the_loop_s(plugin: Plugin) -> None:
    async def run() -> None:
        async with AsyncFakeHost(plugin) as host:
            with pytest.raises(HostError, match="use FakeHost elsewhere"):
                await asyncio.to_thread(asyncio.run, host.call("echo"))

    asyncio.run(run())


# ---- in a plain interpreter ----


def run_python(code: str, stdin: str = "", *options: str) -> str:
    """Run a program as an author does, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", *options, "-c", textwrap.dedent(code)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SMALL = """
    import threading
    from nylon_ring_py import Plugin
    from nylon_ring_py.testing import FakeHost
    plugin = Plugin("small")
    @plugin.handle("add")
    def add(req):
        number = int(req.body)
        if number == 13:
            breakpoint()
        return str(number + 1)
    plugin.on_shutdown(lambda: print("bye"))
"""


def test_no_more_is_imported_than_it_needs() -> None:
    shown = "; import sys; print([name for name in ('asyncio', 'cffi', 'pytest') if name in sys.modules])"
    assert run_python("import nylon_ring_py.testing.pytest_plugin" + shown) == "['pytest']\n"
    assert "cffi" not in run_python("from nylon_ring_py.testing import FakeHost" + shown)


def test_a_host_that_is_never_left_is_unloaded_at_exit() -> None:
    assert run_python(SMALL + "    print(FakeHost(plugin).call('add', '1').text)") == "2\nbye\n"


def test_a_breakpoint_in_a_handler() -> None:
    code = "    with FakeHost(plugin) as host: print(host.call('add', '13').text)"
    out = run_python(SMALL + code, stdin="p number * 2\nc\n")
    assert "26" in out
    assert out.endswith("14\nbye\n")


def test_a_fork_of_the_process() -> None:
    code = """
    import os
    with FakeHost(plugin) as host:
        host.call("add", "1")
        child = os.fork()
        if child == 0:
            try:
                FakeHost(Plugin("other"))
            except RuntimeError as error:
                print(error, flush=True)
            host.unload()
            os._exit(0)
        os.waitpid(child, 0)
        print(host.call("add", "2").text)
    """
    out = run_python(SMALL + code)
    assert "this process was forked after Python had started" in out
    assert out.endswith("3\nbye\n")
