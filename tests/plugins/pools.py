"""Handlers in threads and in spawned processes: built and loaded by the tests of executors."""

import contextvars
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from nylon_ring_py import HandlerError, Plugin, Request, Response, Status

started = "not initialized"


def start_worker(how: str) -> None:
    global started
    started = how


def processes() -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(2, mp_context=spawn, initializer=start_worker, initargs=("initialized",))


SHUTDOWN_S = float(os.environ.get("POOLS_SHUTDOWN_S", "10"))

plugin = Plugin("pools", version="1", executor=processes, shutdown_timeout_s=SHUTDOWN_S)
threads = ThreadPoolExecutor(4, thread_name_prefix="author")
seen = contextvars.ContextVar("seen", default="none")


@plugin.handle("echo")
def echo(req: Request) -> str:
    head = f"{req.method} {req.path}?{req.query} {req.headers['X-A']}"
    return f"{head} {req.body.decode()} {req.entry} {req.has_metadata}"


@plugin.handle_raw("raw")
def raw(payload: bytes) -> bytearray:
    return bytearray(payload[::-1])


@plugin.handle("where")
def where(_req: Request) -> str:
    executable = Path("/proc/self/exe").readlink()
    return f"{os.getpid()} {os.getppid()} {executable} {sys.executable} {__name__} {started}"


@plugin.handle("view")
def view(_req: Request) -> Response:
    return Response(memoryview(b"a-b-c")[::2], status=Status.UNSUPPORTED)


@plugin.handle("wrong")
def wrong(_req: Request) -> bytes:
    return 7  # type: ignore[return-value]  # what it is for


@plugin.handle("fail")
def fail(_req: Request) -> None:
    raise KeyError("no such thing")


@plugin.handle("refuse")
def refuse(_req: Request) -> None:
    raise HandlerError(Status.INVALID, "not like that")


@plugin.handle("leave")
def leave(_req: Request) -> None:
    sys.exit(3)


@plugin.handle("state")
def state(req: Request) -> None:
    req.state.set("a", b"b")


@plugin.handle("context")
def context(req: Request) -> str:
    before = seen.get()
    seen.set(req.path)
    return before


@plugin.handle("signals")
def signals(_req: Request) -> str:
    return repr(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))


@plugin.handle("wait")
def wait(req: Request) -> str:
    Path(req.path).write_text(f"{os.getpid()}\n")
    return Path(req.query).read_text()


@plugin.handle("local", executor=threads)
def local(_req: Request) -> str:
    return f"{os.getpid()} {threading.current_thread().name}"


@plugin.handle("local_fail", executor=threads)
def local_fail(_req: Request) -> None:
    raise KeyError("no such thing")


@plugin.handle("local_wrong", executor=threads)
def local_wrong(_req: Request) -> bytes:
    return 7  # type: ignore[return-value]  # what it is for


@plugin.handle("local_context", executor=threads)
def local_context(req: Request) -> str:
    return context(req)


@plugin.handle("local_state", executor=threads)
def local_state(req: Request) -> bytes | None:
    req.state.set("a", b"b")
    return req.state.get("a")


@plugin.handle("local_wait", executor=threads)
def local_wait(req: Request) -> str:
    return wait(req)


@plugin.handle_sync("here")
def here(_req: Request) -> str:
    return str(os.getpid())


@plugin.handle("frames")
def frames(_req: Request) -> Iterator[str]:
    yield str(os.getpid())
