"""Coroutine handlers: a task per call on the plugin's event loop, whatever the task does, raises or starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import LOOP_FDS, LOOP_THREADS, BuildPlugin, StartHost, memory_counts, until
from nrhost import NrHost, Status

SOURCE = """
import asyncio
import contextvars
import functools
import os
import sys
import threading
from nylon_ring_py import Callback, HandlerError, Plugin, Response, Status, current_call

plugin = Plugin("tasks", workers=2, shutdown_timeout_s=5, loops=int(os.environ.get("TEST_LOOPS", "1")),
                event_loop=os.environ.get("TEST_EVENT_LOOP", "asyncio"))
log = []
kept = []
background = set()
var = contextvars.ContextVar("var", default="nothing")

@plugin.handle_sync("log")
def show_log(req): return ",".join(log)

@plugin.handle("echo")
async def echo(req): return req.body

@plugin.handle("slow_echo")
async def slow_echo(req):
    await asyncio.sleep(0)
    return req.body

@plugin.handle_raw("raw")
async def raw(payload):
    await asyncio.sleep(0)
    return payload[::-1]

@plugin.handle("request")
async def request(req):
    await asyncio.sleep(0)
    return f"{req.method} {req.path}?{req.query} {req.headers['X-A']} {req.body.decode()} {req.entry}"

@plugin.handle("name")
async def name(req):
    return f"{asyncio.current_task().get_name()} {current_call().entry}#{current_call().sid} {req.sid}"

@plugin.handle("loop")
async def loop(req):
    return f"{threading.get_ident()} {type(asyncio.get_running_loop()).__module__}"

# ---- what the author does to the event loop while a task is made ----

@plugin.handle("call_soon")
async def call_soon(req):
    loop = asyncio.get_running_loop()
    now, was = vars(loop).get("call_soon"), loop.call_soon
    loop.call_soon = lambda *args, **kwargs: was(*args, **kwargs)
    kept.append(loop.call_soon)
    asyncio.current_task().get_name()  # who looks at it has the next call given a task of its own
    return str(now)

@plugin.handle("call_soon_after")
async def call_soon_after(req):
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    is_kept = vars(loop)["call_soon"] is kept.pop()
    del loop.call_soon
    return str(is_kept)

@plugin.handle("interrupt")
async def interrupt(req):
    loop = asyncio.get_running_loop()
    was = loop.get_debug
    def get_debug():
        loop.get_debug = was
        loop.call_soon(log.append, "soon")
        return was()
    loop.get_debug = get_debug  # a task asks for it when it is made
    asyncio.current_task().get_name()

# ---- context ----

@plugin.handle("context")
async def context(req):
    before = var.get()
    var.set(req.path)
    await asyncio.sleep(0)
    return f"{before} {var.get()}"

def whose():
    return f"{current_call().entry} {current_call().sid}"

@plugin.handle("children")
async def children(req):
    async def child():
        await asyncio.sleep(0)
        return whose()
    found = {await asyncio.create_task(child()), await asyncio.to_thread(whose), whose()}
    return f"{len(found)} {found.pop() == f'children {req.sid}'}"

@plugin.handle("no_call")
async def no_call(req):
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(None, whose)
    except LookupError as error:
        return str(error)

@plugin.handle("outlived")
async def outlived(req):
    go_on = asyncio.Event()
    async def child():
        call = current_call()
        before = call.cancelled
        while not call.cancelled:
            await asyncio.sleep(0)
        log.append(f"{call.sid == req.sid} {before} {call.cancelled} {current_call()!r}".replace(str(req.sid), "N"))
    task = asyncio.create_task(child())
    background.add(task)
    task.add_done_callback(background.discard)
    await asyncio.sleep(0)
    return b"done"

@plugin.handle_sync("inner")
def inner(req):
    before = var.get()
    var.set("inner")
    log.append(f"{current_call().entry} {before}")
    return b""

@plugin.stream("outer")
async def outer(stream):
    var.set("outer")
    await stream.send(b"frame")
    log.append(f"{current_call().entry} {var.get()}")

# ---- what is raised ----

@plugin.handle("raises")
async def raises(req):
    if req.query: await asyncio.sleep(0)
    match req.path:
        case "exit": sys.exit(3)
        case "interrupt": raise KeyboardInterrupt("no")
        case "cancelled": raise asyncio.CancelledError("own")
        case "generator_exit": raise GeneratorExit
        case "stop": raise StopIteration(5)
        case "handler": raise HandlerError(Status.INVALID, "not like that")
        case "group":
            async def wrong(): raise KeyError("in a task")
            async with asyncio.TaskGroup() as group: group.create_task(wrong())
        case "cancel_self":
            asyncio.current_task().cancel()
            await asyncio.sleep(10)
        case "wrong": return 5
        case "response": return Response(b"r", Status.UNSUPPORTED)
        case "nothing": return None

def in_a_child(how):
    async def child():
        if how == "exit": sys.exit(3)
        raise KeyboardInterrupt
    return child()

@plugin.handle("child_raises")
async def child_raises(req):
    try:
        await asyncio.create_task(in_a_child(req.path))
    except BaseException as error:
        return f"{type(error).__name__}"

@plugin.handle("callback_raises")
async def callback_raises(req):
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.01)
    return b"went on"

@plugin.handle("stops_loop")
async def stops_loop(req):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return b"went on"

# ---- callbacks, streams by hand, wrappers ----

@plugin.handle("callback")
async def with_callback(req, callback: Callback):
    await asyncio.sleep(0)
    match req.path:
        case "now": callback(b"now")
        case "later": asyncio.get_running_loop().call_later(0.01, callback, b"later")
        case "thread": await asyncio.to_thread(callback, Response(b"thread", Status.INVALID))
        case "return": return b"returned"
        case "kept":
            kept.append(callback)
            raise KeyError("kept")
    return None

@plugin.handle("stream", stream=True)
async def by_hand(req):
    await asyncio.sleep(0)
    for n in range(3):
        plugin.send_result(req.sid, Status.OK, str(n))
        await asyncio.sleep(0)
    return b"opened"

@plugin.stream_data
def data(sid, frame):
    return frame

@plugin.handle("pushes", stream=True)
async def pushes(req):
    from nylon_ring_py import StreamFullError
    try:
        for n in range(1000):
            plugin.send_result(req.sid, Status.OK, str(n))
    except StreamFullError as error:
        log.append(str(error))

def logged(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return b"[" + await function(*args, **kwargs) + b"]"
    return wrapper

@plugin.handle("wrapped")
@logged
async def wrapped(req):
    return req.body

class Shop:
    @plugin.handle("static")
    @staticmethod
    async def static(req): return b"static"

# ---- asyncio's tools ----

@plugin.handle("tools")
async def tools(req):
    async def one(n):
        await asyncio.sleep(0)
        return n
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(n)) for n in range(3)]
    found = [task.result() for task in tasks]
    found += await asyncio.gather(*map(one, range(3)))
    found.append(await asyncio.wait_for(one(7), 10))
    try:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)
    except TimeoutError:
        found.append("timeout")
    queue = asyncio.Queue(1)
    async def put():
        for n in range(3): await queue.put(n)
    putting = asyncio.create_task(put())
    found += [await queue.get() for _ in range(3)]
    await putting
    return repr(found)

@plugin.handle("subprocess")
async def subprocess(req):
    child = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
    out, _ = await child.communicate(req.body)
    return f"{out.decode()} {child.returncode}"

@plugin.handle("sockets")
async def sockets(req):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(req.body + b"\\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer

meeting = []

@plugin.handle("meet")
async def meet(req):
    waiter = asyncio.get_running_loop().create_future()
    meeting.append(waiter)
    if len(meeting) == int(req.path):
        for other in meeting: other.set_result(None)
        meeting.clear()
    await waiter
    return req.body

@plugin.on_init
async def init():
    await asyncio.sleep(0)
    log.append("init")

@plugin.on_shutdown
async def bye():
    await asyncio.sleep(0)
    print("shut down on", asyncio.current_task() is not None, flush=True)
"""

ONE_AT_A_TIME = 100_000
LOOPS = pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])


@pytest.fixture(scope="module")
def tasks(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "tasks")


@pytest.fixture
def host(tasks: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(tasks) == Status.OK
    return host


@pytest.fixture
def loop_host(tasks: Path, start_host: StartHost, event_loop: str) -> NrHost:
    host = start_host(
        env={"TEST_EVENT_LOOP": event_loop},
        resident_threads=LOOP_THREADS[event_loop],
        resident_fds=LOOP_FDS[event_loop],
    )
    assert host.load(tasks) == Status.OK
    return host


def text(host: NrHost) -> str:
    return host.call("log").reply.text


def test_hooks_may_be_coroutines(tasks: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(tasks) == Status.OK
    assert text(host) == "init"
    host.unload()
    assert b"shut down on True" in host.stderr()


@LOOPS
def test_what_a_coroutine_gets_and_gives(loop_host: NrHost, event_loop: str) -> None:
    host = loop_host
    assert host.call("echo", body=b"hi").reply.data == b"hi"
    assert host.call("slow_echo", body=b"hi").reply.data == b"hi"
    assert host.call("raw", body=b"abc").reply.data == b"cba"
    assert host.call("wrapped", body=b"x").reply.data == b"[x]"
    assert host.call("static").reply.data == b"static"
    call = host.call("request", method="GET", path="/p", query="q", headers=[("x-a", "v")], body=b"body")
    assert call.reply.text == "GET /p?q v body request"
    assert host.call("loop").reply.text.split()[1].partition(".")[0] == event_loop


def test_a_task_is_named_by_its_call(host: NrHost) -> None:
    call = host.call("name")
    assert call.reply.text == f"name#{call.sid} name#{call.sid} {call.sid}"


# ---- what the author does to the event loop while a task is made ----


@LOOPS
def test_an_author_may_have_a_call_soon_of_their_own(loop_host: NrHost, event_loop: str) -> None:
    assert loop_host.call("call_soon").reply.text == "None"
    assert loop_host.call("slow_echo", body=b"x").reply.text == "x"
    assert loop_host.call("call_soon_after").reply.text == "True"


@LOOPS
def test_what_is_called_soon_while_a_task_is_made(loop_host: NrHost, event_loop: str) -> None:
    loop_host.call("interrupt")
    assert loop_host.call("slow_echo", body=b"x").reply.text == "x"
    until(lambda: text(loop_host).endswith("soon"))


# ---- context ----


def test_every_call_has_a_context_of_its_own(host: NrHost) -> None:
    assert [host.call("context", path=path).reply.text for path in "abc"] == ["nothing a", "nothing b", "nothing c"]


def test_children_work_for_the_same_call(host: NrHost) -> None:
    assert host.call("children").reply.text == "1 True"
    assert host.call("no_call").reply.text.startswith("current_call(): no handler is at work here")


def test_a_child_that_outlives_its_call_sees_the_end(host: NrHost) -> None:
    assert host.call("outlived").reply.data == b"done"
    until(lambda: "<Call" in text(host))
    assert text(host) == "init,True False True <Call entry='outlived' sid=N>"


def test_a_call_inside_a_send_is_another_call(host: NrHost) -> None:
    host.callback("reenter", entry="inner", budget=1)
    assert host.stream("outer").data == [b"frame", b""]
    assert text(host) == "init,inner nothing,outer outer"


# ---- what is raised ----

RAISED = [
    ("exit", Status.ERR, "SystemExit: 3"),
    ("interrupt", Status.ERR, "KeyboardInterrupt: no"),
    ("cancelled", Status.ERR, "CancelledError: own"),
    ("generator_exit", Status.ERR, "GeneratorExit"),
    ("stop", Status.ERR, "RuntimeError: coroutine raised StopIteration"),
    ("handler", Status.INVALID, "not like that"),
    ("group", Status.ERR, "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"),
    ("cancel_self", Status.ERR, "CancelledError"),
    ("wrong", Status.ERR, "TypeError"),
    ("response", Status.UNSUPPORTED, "r"),
    ("nothing", Status.OK, ""),
]


@pytest.mark.parametrize("wait", ["", "wait"])
@LOOPS
def test_whatever_a_coroutine_raises_is_one_answer(loop_host: NrHost, wait: str) -> None:
    for path, status, start in RAISED:
        reply = loop_host.call("raises", path=path, query=wait).reply
        assert reply.status == status, path
        assert reply.text.startswith(start), path
        assert loop_host.call("slow_echo", body=b"still here").reply.data == b"still here"


@LOOPS
def test_the_loop_outlives_what_asyncio_lets_out(loop_host: NrHost) -> None:
    assert loop_host.call("child_raises", path="exit").reply.text == "SystemExit"
    assert loop_host.call("child_raises", path="interrupt").reply.text == "KeyboardInterrupt"
    assert loop_host.call("callback_raises").reply.data == b"went on"
    assert loop_host.call("stops_loop").reply.data == b"went on"
    assert loop_host.call("slow_echo", body=b"still here").reply.data == b"still here"
    assert b"a task or callback on the event loop raised SystemExit" in loop_host.stderr()


# ---- callbacks and streams by hand ----


def test_callbacks_of_coroutines(host: NrHost) -> None:
    assert host.call("callback", path="now").reply.data == b"now"
    assert host.call("callback", path="later").reply.data == b"later"
    thread = host.call("callback", path="thread").reply
    assert (thread.status, thread.data) == (Status.INVALID, b"thread")
    assert host.call("callback", path="return").reply.data == b"returned"
    dropped = host.call("callback", path="dropped").reply
    assert (dropped.status, dropped.data) == (Status.ERR, b"the handler dropped its callback without an answer")
    assert host.call("callback", path="kept").reply.text == "KeyError: 'kept'"


def test_a_stream_by_hand(host: NrHost) -> None:
    sid = host.submit("stream", kind="stream").sid
    assert host.stream_data(sid, b"before it returns or after") == Status.OK
    assert host.wait(sid, frames=5).data == [b"0", b"1", b"2", b"opened", b"before it returns or after"]
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).data == [b""]


def test_the_loop_never_waits_for_a_host(tasks: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(tasks, abi="v2", stream_capacity=4) == Status.OK
    sid = host.submit("pushes", kind="stream").sid
    until(lambda: "StreamFull" in text(host) or "an event loop's, which must not wait" in text(host))
    assert host.call("slow_echo", body=b"x").reply.data == b"x"
    assert host.stream_close(sid) == Status.OK
    frames = host.wait(sid).frames
    assert [frame.text for frame in frames[:-1]] == [str(n) for n in range(len(frames) - 1)]


# ---- asyncio's tools ----


@LOOPS
def test_what_asyncio_offers(loop_host: NrHost) -> None:
    assert loop_host.call("tools").reply.text == "[0, 1, 2, 0, 1, 2, 7, 'timeout', 0, 1, 2]"
    assert loop_host.call("subprocess", body=b"through a pipe").reply.text == "through a pipe 0"
    assert loop_host.call("sockets", body=b"hello").reply.data == b"HELLO\n"


# ---- many ----


@LOOPS
def test_a_thousand_calls_wait_at_once(loop_host: NrHost) -> None:
    sids = [loop_host.submit("meet", path="1000", body=b"%d" % n).sid for n in range(1000)]
    assert [loop_host.wait(sid).reply.data for sid in sids] == [b"%d" % n for n in range(1000)]


@pytest.mark.parametrize("loops", ["1", "2"])
@LOOPS
def test_a_storm(tasks: Path, start_host: StartHost, loops: str, event_loop: str) -> None:
    environment = {"TEST_LOOPS": loops, "TEST_EVENT_LOOP": event_loop}
    host = start_host(env=environment, resident_fds=LOOP_FDS[event_loop])
    assert host.load(tasks) == Status.OK
    threads = {host.call("loop").reply.text.split()[0] for _ in range(8)}
    assert len(threads) == int(loops)
    storm = host.storm(calls=20_000, threads=8, unary="slow_echo", raw="echo", check_echo=True)
    assert (storm.accepted, storm.terminals, storm.wrong, storm.timeouts) == (20_000, 20_000, 0, 0)


@pytest.mark.long
def test_one_call_at_a_time(tasks: Path, start_host: StartHost) -> None:
    """Each comes when the loop is about to sleep, or does."""
    host = start_host()
    assert host.load(tasks) == Status.OK
    storm = host.storm(calls=ONE_AT_A_TIME, threads=1, window=1, raw="echo")
    assert (storm.accepted, storm.terminals, storm.timeouts) == (ONE_AT_A_TIME, ONE_AT_A_TIME, 0)


def test_memory_stays_flat(tasks: Path, start_host: StartHost) -> None:
    host = start_host()
    assert host.load(tasks) == Status.OK

    def burst() -> int:
        host.storm(calls=20_000, threads=4, unary="slow_echo", body_size=512)
        host.ledger_reset()
        host.malloc_trim()
        return host.process().rss_kib

    burst()
    first = burst()
    assert min(burst() for _ in range(3)) < first + 4096 or not memory_counts()
