"""The processes and threads of executors in a host: their signals, their deaths, and that nothing of them stays."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest
from conftest import ROOT, BuildPlugin, StartHost, memory_counts, until
from nrhost import NrHost, Status

HASTY = {"POOLS_SHUTDOWN_S": "0.3"}


@pytest.fixture(scope="module")
def pools(build_once: BuildPlugin) -> Path:
    return build_once(ROOT / "tests/plugins/pools.py", "pools")


def loaded(start_host: StartHost, plugin: Path, **options: object) -> NrHost:
    host = start_host(**options)
    assert host.load(plugin) == Status.OK, host.stderr_tail()
    return host


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[Path, Path]:
    """Where the handler `wait` says that it is in, and where it waits."""
    paths = tmp_path / "in", tmp_path / "out"
    for path in paths:
        os.mkfifo(path)
    return paths


def first_pid(fifo: Path) -> int:
    """The process that wrote its number first: a second worker may have come to `wait` meanwhile."""
    return int(fifo.read_text().split()[0])


def wait_until_gone(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(handle):
        assert select.select([handle], [], [], 60.0)[0], f"process {pid} lives on"


# ---- signals ----


def told_of(path: Path) -> str:
    """What /proc says there; nothing of a thread or a process that has ended since."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def blocked_signals(host: NrHost) -> list[int]:
    """What each thread of the host's process blocks."""
    texts = [told_of(task / "status") for task in Path(f"/proc/{host.pid}/task").iterdir()]
    return [int(line.split()[1], 16) for text in texts for line in text.splitlines() if line.startswith("SigBlk:")]


def children_with(host: NrHost, word: str) -> list[int]:
    """The child processes with this word in their command."""
    tasks = Path(f"/proc/{host.pid}/task").iterdir()
    children = [int(pid) for task in tasks for pid in told_of(task / "children").split()]
    return [pid for pid in children if word in told_of(Path(f"/proc/{pid}/cmdline"))]


def child_with(host: NrHost, word: str) -> int:
    """The one that there is, which may just be on its way from fork to exec."""
    found: list[int] = []

    def is_one() -> bool:
        found[:] = children_with(host, word)
        return len(found) == 1

    until(is_one)
    return found[0]


def test_workers_can_be_told_to_terminate(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools)
    assert host.call("signals").reply.text == "[]"
    sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    os.kill(first_pid(fifos[0]), signal.SIGTERM)
    assert host.wait(sid).reply.text.startswith("BrokenProcessPool: ")


def test_the_host_s_threads_and_ours_keep_their_masks(start_host: StartHost, pools: Path) -> None:
    """A host that takes SIGTERM by sigwait has it blocked in all threads; multiprocessing unblocks it as it pleases."""
    bit = 1 << (signal.SIGTERM - 1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        host = loaded(start_host, pools)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    tracker = child_with(host, "resource_tracker")
    os.kill(tracker, signal.SIGKILL)  # so that a worker's thread starts another
    wait_until_gone(tracker)
    assert host.call("where").reply.status == Status.OK
    assert child_with(host, "resource_tracker")
    host.call("local")
    masks = blocked_signals(host)
    assert len(masks) > 4
    assert [mask for mask in masks if not mask & bit] == []


# ---- workers that die ----


def test_calls_lost_with_a_worker_are_answered(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools)
    asked = {"path": str(fifos[0]), "query": str(fifos[1])}
    sids = [host.submit("wait", **asked).sid for _ in range(12)]  # type: ignore[arg-type]
    os.kill(first_pid(fifos[0]), signal.SIGKILL)
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
    busy = first_pid(fifos[0])
    idle = int(host.call("where").reply.text.split()[0])
    assert busy != idle
    os.kill(host.pid, signal.SIGKILL)
    os.waitid(os.P_PID, host.pid, os.WEXITED | os.WNOWAIT)  # its workers may be faster than the kernel with it
    wait_until_gone(busy)
    wait_until_gone(idle)


# ---- the end ----


def test_running_calls_may_finish(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools)
    for entry in ("wait", "local_wait"):
        sid = host.submit(entry, path=str(fifos[0]), query=str(fifos[1])).sid
        fifos[0].read_text()
        job = host.start_shutdown()
        until(lambda: host.call("here").handle != Status.OK)
        fifos[1].write_text("done")
        host.join(job)
        assert host.wait(sid).reply.text == "done"
        host.unload()
        assert host.load(pools) == Status.OK


def test_a_worker_that_never_ends(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    host = loaded(start_host, pools, env=HASTY)
    sids = [host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid for _ in range(9)]
    pid = first_pid(fifos[0])
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
        from pathlib import Path
        from nylon_ring_py import Plugin

        def pool():
            return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

        plugin = Plugin("stubborn", executor=pool, shutdown_timeout_s=0.2)

        @plugin.handle("stay")
        def stay(req):
            signal.signal(signal.SIGTERM, lambda *_: Path(req.query).write_text("told"))
            Path(req.path).write_text("in")
            while True:
                time.sleep(60)
        """,
        "stubborn",
    )
    host = loaded(start_host, plugin)
    fifo = plugin.parent / "fifo"
    os.mkfifo(fifo)
    told = plugin.parent / "told"
    sid = host.submit("stay", path=str(fifo), query=str(told)).sid
    fifo.read_text()
    host.shutdown()
    assert host.wait(sid).reply.text == "the plugin is shutting down"
    assert told.read_text() == "told"


def test_a_thread_that_never_ends(start_host: StartHost, pools: Path, fifos: tuple[Path, Path]) -> None:
    """It is left behind, as a worker of the core's own would be, and said so."""
    host = loaded(start_host, pools, env=HASTY)
    sid = host.submit("local_wait", path=str(fifos[0]), query=str(fifos[1])).sid
    fifos[0].read_text()
    host.shutdown()
    assert host.wait(sid).reply.text == "the plugin is shutting down"
    assert "threads of an executor run on after the plugin's end: author_0" in host.stderr_tail()
    host.unload()
    fifos[1].write_text("")


@pytest.mark.long
def test_many_loads_leave_nothing(start_host: StartHost, pools: Path) -> None:
    host = start_host()
    left = []
    for _ in range(80):
        assert host.load(pools) == Status.OK
        assert host.call("raw", door="raw", body=b"ab").reply.data == b"ba"
        assert host.call("local").reply.status == Status.OK
        host.unload()
        left.append(host.process())
    assert {now.children for now in left} == {0}
    until(lambda: host.process().fds <= left[0].fds)
    # The allocator's arenas for threads that meet come one by one with the first loads.
    assert left[-1].rss_kib < left[29].rss_kib + 2048 or not memory_counts()


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
