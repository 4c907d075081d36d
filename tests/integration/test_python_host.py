"""The Python host with plugins in Python and in C. Each test's host is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import BuildPlugin, needs_fork

SOURCE = """
    import sys
    import threading
    from nylon_ring_py import HandlerError, Plugin, Status

    plugin = Plugin("hosted", version="2.1.0", workers=4, shutdown_timeout_s=0.3)
    held = threading.Event()
    holding = threading.Semaphore(0)
    over = []

    @plugin.handle("echo")
    def echo(req):
        return req.body

    @plugin.handle_sync("sync")
    def sync(req):
        return req.body

    @plugin.handle_sync("thread")
    def thread(req):
        return str(threading.get_ident())

    @plugin.handle("describe")
    def describe(req):
        headers = " ".join(f"{name}={value}" for name, value in req.headers.items())
        return f"{req.method} {req.path}?{req.query} {headers} {req.body.decode()}"

    @plugin.handle("fail")
    def fail(req):
        raise HandlerError(Status.ERR, "on purpose")

    @plugin.handle("count")
    def count(req):
        for i in range(int(req.body)):
            yield str(i)

    @plugin.handle("endless")
    def endless(req):
        try:
            while True:
                yield b"more"
        finally:
            over.append(req.sid)

    @plugin.handle_sync("over")
    def ended(req):
        return str(over)

    @plugin.handle("chat", stream=True)
    def chat(req):
        return b"hello"

    @plugin.stream_data
    def data(sid, data):
        return bytes(data).upper()

    @plugin.stream_close
    def close(sid):
        print("chat: closed", flush=True)

    @plugin.handle("hold")
    def hold(req):
        holding.release()
        held.wait(30)
        return b"let go"

    @plugin.handle_sync("holding")
    def wait_holding(req):
        holding.acquire()

    @plugin.handle_sync("let_go")
    def let_go(req):
        held.set()

    @plugin.handle_sync("inside")
    def inside(req):
        return sys.modules["__main__"].inside()

    @plugin.on_shutdown
    def bye():
        held.set()
        print("on_shutdown", flush=True)
"""

HEAD = """
    import asyncio, gc, os, signal, sys, threading
    from nylon_ring_py import Status
    from nylon_ring_py.host import *
    path = sys.argv[1]

    def waits(thread):
        # Whether its call was taken, and its reply is waited for.
        frame, names = sys._current_frames().get(thread.ident), set()
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        return "wait_for_reply" in names
"""


@pytest.fixture(scope="module")
def plugin(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "hosted")


@pytest.fixture(params=["v1", "v2"])
def abi(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(code: str, *arguments: object, expect: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a host; its exit code is as expected, and nothing was swallowed, leaked or raised on the way."""
    text = textwrap.dedent(HEAD) + textwrap.dedent(code)
    command = [sys.executable, "-P", "-X", "faulthandler", "-W", "error", "-c", text, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **env})
    assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr or expect, done.stderr
    return done


def test_every_kind_of_call(plugin: Path, abi: str) -> None:
    code = """
        with Host.load(path, abi=sys.argv[2]) as host:
            assert (host.name, host.version, host.abi, host.closed) == ("hosted", "2.1.0", sys.argv[2], False)
            assert host.call("echo", b"hi") == host.call_raw("echo", "hi") == host.call("sync", bytearray(b"hi"))
            status, data = host.call_fast("sync", memoryview(b"fast"))
            assert (status, data) == (Status.OK, b"fast")
            assert host.call("thread").text == str(threading.get_ident())
            assert host.call("echo", b"x" * 5_000_000, timeout_s=30).data == b"x" * 5_000_000
            assert list(host.call("fail")) == [Status.ERR, b"on purpose"]
            frames = list(host.call_stream("count", "1000"))
            assert [frame.data for frame in frames] == [*(str(i).encode() for i in range(1000)), b""]
            assert [frame.status for frame in frames[-2:]] == [Status.OK, Status.STREAM_END]
            for wrong, status in (("nobody", Status.INVALID), ("", Status.INVALID)):
                try:
                    host.call(wrong)
                except RefusedError as error:
                    assert error.status == status and repr(wrong) in str(error)
                else:
                    raise AssertionError
            for i in range(200):
                try:
                    host.call_fast("echo", b"pooled")
                except NoReplyError:
                    continue
                raise AssertionError("a pooled entry answered inside handle")
            assert host.in_progress == 0
        assert host.closed
        try:
            host.call("echo")
        except HostClosedError:
            print("refused")
    """
    assert run(code, plugin, abi).stdout.splitlines() == ["on_shutdown", "refused"]


def test_a_request(plugin: Path) -> None:
    code = """
        request = dict(method="PUT", path="/a b", query="q=1", headers=[("X-One", "ä"), ("x-one", "2")])
        with Host.load(path, abi="v1") as host:
            assert host.call("describe", "body", **request).text == "PUT /a b?q=1 X-One=ä x-one=2 body"
            assert host.call("describe", headers={"a": b"b"}).text == " ? a=b "
            assert list(host.call_stream("count", b"1", **request))[0].data == b"0"
        with Host.load(path, abi="v2") as host:
            try:
                host.call("describe", path="/x")
            except HostError as error:
                assert "abi='v1'" in str(error)
            else:
                raise AssertionError("the path was lost")
            assert host.entry_id("nobody") is None
            assert host.call_id(host.entry_id("sync"), b"by number").data == b"by number"
    """
    run(code, plugin)


def test_duplex_by_object_and_by_sid(plugin: Path, abi: str) -> None:
    code = """
        with Host.load(path, abi=sys.argv[2]) as host:
            with host.call_stream("chat") as chat:
                chat.send("one")
                host.send_stream_data(chat.sid, b"two")
                assert [chat.recv(30).data for _ in range(3)] == [b"hello", b"ONE", b"TWO"]
                host.close_stream(chat.sid)
                assert [frame.status for frame in chat] == [Status.STREAM_END]
                assert chat.recv() is None
            for refused in (lambda: chat.send(b"late"), chat.close_input, lambda: host.close_stream(99)):
                try:
                    refused()
                except RefusedError as error:
                    assert error.status == Status.INVALID
                else:
                    raise AssertionError
            feed = host.call_stream("endless")
            try:
                feed.send(b"input")
            except RefusedError as error:
                assert error.status == Status.UNSUPPORTED
            feed.close()
            assert feed.recv() is None
    """
    run(code, plugin, abi)


@pytest.mark.parametrize(
    "how", ["feed.close()", "del feed; gc.collect(); host.call('sync')", "feed.__exit__(None, None, None)"]
)
def test_a_dropped_receiver_stops_its_producer(plugin: Path, abi: str, how: str) -> None:
    """At the drop, or with the next call where the object was only forgotten."""
    code = f"""
        host = Host.load(path, abi=sys.argv[2])
        feed = host.call_stream("endless")
        assert feed.recv(30).data == b"more"
        {how}
        while host.call("over").text != "[1]":
            pass
        host.unload()
    """
    run(code, plugin, abi)


def test_backpressure_bounds_what_a_slow_reader_holds(plugin: Path) -> None:
    code = """
        with Host.load(path, abi="v2", stream_capacity=3) as host:
            frames = host.call_stream("count", b"500")
            for i in range(50):
                host.call("echo")
            assert frames._call._frames.qsize() <= 3
            assert [frame.data for frame in frames] == [*(str(i).encode() for i in range(500)), b""]
    """
    run(code, plugin)


def test_timeouts(plugin: Path, abi: str) -> None:
    code = """
        with Host.load(path, abi=sys.argv[2]) as host:
            for call in (lambda: host.call("hold", timeout_s=0.01), lambda: host.call_stream("chat").recv(30) and
                         host.call_stream("hold").recv(0.01)):
                try:
                    call()
                except TimeoutError as error:
                    assert isinstance(error, CallTimeoutError)
                else:
                    raise AssertionError
            host.call("let_go")
            assert host.call("echo", b"goes on").data == b"goes on"
    """
    run(code, plugin, abi)


def test_threads(plugin: Path, abi: str) -> None:
    code = """
        with Host.load(path, abi=sys.argv[2]) as host:
            def work(number):
                for i in range(300):
                    body = f"{number} {i}".encode()
                    assert host.call("echo", body).data == host.call("sync", body).data == body
                    if i % 50 == 0:
                        assert len(list(host.call_stream("count", b"20"))) == 21
                done.append(number)
            done = []
            threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert len(done) == 6 and host.in_progress == 0
    """
    run(code, plugin, abi)


def test_unload_answers_and_ends_what_is_open(plugin: Path, abi: str) -> None:
    """A held call, an idle stream and a caller in another thread: all end; nobody waits for ever."""
    code = """
        host = Host.load(path, abi=sys.argv[2])
        chat = host.call_stream("chat")
        assert chat.recv(30).data == b"hello"
        outcomes, storming = [], threading.Semaphore(0)
        def wait():
            outcomes.append(host.call("hold").data)
        def storm():
            try:
                while True:
                    host.call("echo")
                    storming.release()
            except (HostClosedError, RefusedError):
                outcomes.append("refused")
        threads = [threading.Thread(target=each) for each in (wait, storm, storm)]
        for thread in threads: thread.start()
        host.call("holding")
        storming.acquire()
        host.unload()
        host.unload()
        for thread in threads: thread.join()
        assert sorted(map(str, outcomes)) == ["b'the plugin is shutting down'", "refused", "refused"], outcomes
        assert chat.recv().status in (Status.ERR, Status.STREAM_END) and chat.recv() is None
        assert host.in_progress == 0
    """
    run(code, plugin, abi)


def test_reload_keeps_host_and_sids(plugin: Path, abi: str) -> None:
    code = """
        with Host.load(path, abi=sys.argv[2]) as host:
            first = host.call_stream("chat")
            assert first.recv().data == b"hello"
            for i in range(10):
                host.reload()
                assert host.call("echo", str(i)).data == str(i).encode()
            assert (first.sid, host.call_stream("chat").sid) == (1, 12)
            assert first.recv().status == Status.ERR
            before = host.instance
            try:
                host.reload("/nowhere.so")
            except PluginNotFoundError:
                assert host.instance is before
    """
    assert run(code, plugin, abi).stdout.splitlines().count("on_shutdown") == 11


def test_asyncio(plugin: Path, abi: str) -> None:
    code = """
        async def main():
            async with await AsyncHost.load(path, abi=sys.argv[2]) as host:
                replies = await asyncio.gather(*(host.call_raw("echo", str(i), timeout_s=60) for i in range(2000)))
                assert [int(reply.data) for reply in replies] == list(range(2000))
                assert (await host.call("sync", b"here")).data == b"here"
                assert [frame.data async for frame in await host.call_stream("count", b"3")] == [b"0", b"1", b"2", b""]
                async with await host.call_stream("chat") as chat:
                    chat.send(b"one")
                    assert [(await chat.recv(30)).data for _ in range(2)] == [b"hello", b"ONE"]
                    for waiting in (chat.recv(0.01), host.call("hold", timeout_s=0.01)):
                        try:
                            await waiting
                        except CallTimeoutError:
                            continue
                        raise AssertionError
                while host.in_progress:
                    await host.call("echo")
                held = asyncio.create_task(host.call("hold"))
                await asyncio.sleep(0)
                assert host.in_progress == 1
                held.cancel()
                await asyncio.wait([held])
                assert held.cancelled() and host.in_progress == 0
                await host.call("let_go")
                try:
                    await host.call("nobody")
                except RefusedError as error:
                    assert error.status == Status.INVALID
                while host.in_progress:
                    await host.call("echo")
        asyncio.run(main())
    """
    run(code, plugin, abi)


def test_a_burst_of_frames_wakes_the_loop_once(plugin: Path) -> None:
    """While the loop is busy the frames pile up; one wake brings them all."""
    code = """
        async def main():
            async with await AsyncHost.load(path, abi="v1") as host:
                loop, wakes = asyncio.get_running_loop(), []
                wake = loop.call_soon_threadsafe
                loop.call_soon_threadsafe = lambda *args: (wakes.append(args), wake(*args))[1]
                frames = await host.call_stream("count", b"300")
                with_sync = Host(host.instance)
                while len(frames._call.frames) < 301:
                    with_sync.call("echo")
                assert len(wakes) == 1, len(wakes)
                assert len([frame async for frame in frames]) == 301
        asyncio.run(main())
    """
    run(code, plugin)


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise SystemExit(3)", "raise RuntimeError('of the host')"])
def test_the_interpreter_ends_with_a_plugin_open(plugin: Path, abi: str, end: str) -> None:
    code = f"""
        host = Host.load(path, abi=sys.argv[2])
        second = Host.load(path, abi=sys.argv[2])
        feed = host.call_stream("endless")
        held = threading.Thread(target=lambda: second.call("hold"), daemon=True)
        held.start()
        second.call("holding")
        assert feed.recv().data == b"more"
        {end}
    """
    done = run(code, plugin, abi, expect={"pass": 0, "raise RuntimeError('of the host')": 1}.get(end, 3))
    assert done.stdout.splitlines().count("on_shutdown") == 2
    assert "Fatal" not in done.stderr


def test_a_forked_child_is_refused_and_ends(plugin: Path) -> None:
    needs_fork()
    code = """
        host = Host.load(path)
        pid = os.fork()
        if pid == 0:
            try:
                host.call("echo")
            except HostClosedError:
                sys.exit(5)
            sys.exit(6)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        assert host.call("echo", b"parent").data == b"parent"
        host.unload()
    """
    run(code, plugin, PYTHONWARNINGS="ignore::DeprecationWarning")


def test_a_synchronous_entry_calls_the_host_again(plugin: Path, abi: str) -> None:
    """Python over the plugin over Python on one thread, many times over; unload from there is an error."""
    code = """
        depth = 0
        def inside():
            global depth
            depth += 1
            if depth < 10:
                return host.call("inside").data + b"."
            try:
                host.unload()
            except HostError as error:
                assert "inside one of its functions" in str(error)
                return host.call("echo", b"deep").data
        with Host.load(path, abi=sys.argv[2]) as host:
            assert host.call("inside").data == b"deep" + b"." * 9
    """
    run(code, plugin, abi)


def test_unload_waits_for_threads_inside_but_not_longer_than_told(plugin: Path, abi: str) -> None:
    """Without a limit it waits; with one, shutdown comes all the same and the file stays mapped for the thread."""
    code = """
        def mapped():
            with open("/proc/self/maps") as maps:
                return path in maps.read()
        def inside():
            entered.set()
            leave.wait()
            return b"left"
        for limit in (None, 0.05):
            entered, leave, got = threading.Event(), threading.Event(), []
            host = Host.load(path, abi=sys.argv[2])
            caller = threading.Thread(target=lambda: got.append(host.call("inside")))
            caller.start()
            entered.wait()
            unloader = threading.Thread(target=lambda: host.unload(timeout_s=limit))
            unloader.start()
            while not host.instance.closing: pass
            if limit is None:
                leave.set()
            unloader.join()
            assert mapped() == (limit is not None)
            leave.set()
            caller.join()
            assert host.closed and got[0].data == (b"left" if limit is None else b"the plugin is shutting down"), got
    """
    run(code, plugin, abi)
