"""Handlers on a dask cluster: a real scheduler and workers on this machine, under a host that is no Python."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CORE_THREADS, ROOT, BuildPlugin, StartHost, fewer, until
from nrhost import NrHost, Status

pytestmark = pytest.mark.long

SOURCE = """
    import os
    from distributed import Client
    from nylon_ring_py import HandlerError, Plugin, Status

    plugin = Plugin("cluster", executor=lambda: Client(os.environ["CLUSTER"]), shutdown_timeout_s={timeout_s})

    @plugin.handle("where")
    def where(req):
        return f"{{os.getpid()}} {{req.path}} {{req.body.decode()}}"

    @plugin.handle_raw("raw")
    def raw(payload):
        return payload[::-1]

    @plugin.handle("fail")
    def fail(req):
        raise KeyError("no such thing")

    @plugin.handle("refuse")
    def refuse(req):
        raise HandlerError(Status.INVALID, "not like that")

    @plugin.handle("wait")
    def wait(req):
        with open(req.path, "w") as fifo:
            fifo.write(str(os.getpid()))
        with open(req.query) as fifo:
            return f"{{os.getpid()}} {{fifo.read()}}"

    @plugin.handle_sync("here")
    def here(req):
        return str(os.getpid())
"""

# distributed keeps a thread of its own for good once it was used, whatever was closed.
DASK_THREADS = 1


class Cluster:
    """A scheduler and its workers, each a process; `workers` are their process ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []
        self.workers: list[int] = []
        self.scheduler, said = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", until="Scheduler at:")
        self.address = said.split()[-1]

    def add_worker(self) -> None:
        where = ["--local-directory", str(self._folder), "--host", "127.0.0.1"]
        process, _ = self._start(
            "worker", self.address, "--no-nanny", "--nthreads", "2", *where, until="Registered to:"
        )
        self.workers.append(process.pid)

    def _start(self, *arguments: str, until: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-P", "-m", f"distributed.cli.dask_{arguments[0]}", "--no-dashboard", *arguments[1:]]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=self._folder)
        self._running.append(process)
        assert process.stderr
        seen = []
        for line in process.stderr:
            seen.append(line)
            if until in line:
                return process, line
        raise AssertionError(f"{command} ended:\n{''.join(seen)}")

    def stop(self) -> None:
        for process in reversed(self._running):
            process.kill()
            process.communicate()


@contextmanager
def started(folder: Path, workers: int) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def plugin(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE.format(timeout_s=10), "cluster")


def loaded(start_host: StartHost, plugin: Path, cluster: Cluster) -> NrHost:
    host = start_host(env={"CLUSTER": cluster.address}, resident_threads=CORE_THREADS + DASK_THREADS)
    assert host.load(plugin) == Status.OK, host.stderr_tail()
    return host


def test_handlers_run_on_the_workers(start_host: StartHost, plugin: Path, cluster: Cluster) -> None:
    host = loaded(start_host, plugin, cluster)
    assert host.call("here").reply.text == str(host.pid)
    sids = [host.submit("where", path=f"/{number}", body=b"body").sid for number in range(40)]
    texts = [host.wait(sid).reply.text.split() for sid in sids]
    assert [text[1:] for text in texts] == [[f"/{number}", "body"] for number in range(40)]
    assert {int(text[0]) for text in texts} <= set(cluster.workers)
    assert host.call("raw", door="raw", body=b"abc").reply.data == b"cba"


def test_the_example(start_host: StartHost, build: BuildPlugin, cluster: Cluster) -> None:
    host = start_host(env={"DASK_SCHEDULER": cluster.address}, resident_threads=CORE_THREADS + DASK_THREADS)
    assert host.load(build(ROOT / "examples/executors/cluster.py", "cluster")) == Status.OK
    text = host.call("words", body=b"one two three").reply.text
    assert text.startswith("3 words, counted by process ")
    assert int(text.split()[5]) in cluster.workers


def test_failures(start_host: StartHost, plugin: Path, cluster: Cluster) -> None:
    host = loaded(start_host, plugin, cluster)
    reply = host.call("refuse").reply
    assert (reply.status, reply.text) == (Status.INVALID, "not like that")
    reply = host.call("fail").reply
    assert (reply.status, reply.text) == (Status.ERR, "KeyError: 'no such thing'")
    assert "entry 'fail' raised KeyError in a worker process" in host.stderr_tail()
    assert f'{plugin}/cluster.py", line ' in host.stderr_tail()


def test_a_storm_of_calls(start_host: StartHost, plugin: Path, cluster: Cluster) -> None:
    host = loaded(start_host, plugin, cluster)
    calls = fewer(2000)
    storm = host.storm(calls=calls, threads=8, raw="raw", unary="where", body_size=2048)
    assert (storm.accepted, storm.terminals) == (calls, calls)


def test_many_loads_leave_nothing(start_host: StartHost, plugin: Path, cluster: Cluster) -> None:
    host = loaded(start_host, plugin, cluster)
    host.call("where")
    host.unload()
    first = host.process()
    for _ in range(20):
        assert host.load(plugin) == Status.OK
        host.call("where")
        host.unload()

    def is_as_before() -> bool:
        now = host.process()
        return now.threads <= first.threads and now.fds <= first.fds and now.children == 0

    until(is_as_before)  # threads of distributed's end by themselves


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[Path, Path]:
    """Where the handler `wait` says that it is in, and where it waits."""
    paths = tmp_path / "in", tmp_path / "out"
    for path in paths:
        os.mkfifo(path)
    return paths


def test_a_running_call_may_finish(
    start_host: StartHost, plugin: Path, cluster: Cluster, fifos: tuple[Path, Path]
) -> None:
    host = loaded(start_host, plugin, cluster)
    sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    worker = fifos[0].read_text()
    job = host.start_shutdown()
    until(lambda: host.call("here").handle != Status.OK)
    fifos[1].write_text("done")
    host.join(job)
    assert host.wait(sid).reply.text == f"{worker} done"


def test_a_call_that_never_ends(
    start_host: StartHost, build: BuildPlugin, cluster: Cluster, fifos: tuple[Path, Path]
) -> None:
    host = loaded(start_host, build(SOURCE.format(timeout_s=0.3), "cluster"), cluster)
    sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
    fifos[0].read_text()
    host.shutdown()
    assert host.wait(sid).reply.text == "the plugin is shutting down"
    host.unload()
    fifos[1].write_text("")


def test_a_call_lost_with_its_worker_runs_on_another(
    start_host: StartHost, plugin: Path, tmp_path: Path, fifos: tuple[Path, Path]
) -> None:
    with started(tmp_path, 2) as own:
        host = loaded(start_host, plugin, own)
        sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
        first = int(fifos[0].read_text())
        os.kill(first, signal.SIGKILL)
        second = int(fifos[0].read_text())
        assert {first, second} == set(own.workers)
        fifos[1].write_text("done")
        assert host.wait(sid).reply.text == f"{second} done"
        host.unload()


def test_a_scheduler_that_is_gone(
    start_host: StartHost, plugin: Path, tmp_path: Path, fifos: tuple[Path, Path]
) -> None:
    with started(tmp_path, 1) as own:
        host = loaded(start_host, plugin, own)
        sid = host.submit("wait", path=str(fifos[0]), query=str(fifos[1])).sid
        fifos[0].read_text()
        own.scheduler.kill()
        reply = host.wait(sid).reply
        assert (reply.status, reply.text) == (Status.ERR, "CancelledError: the executor has cancelled the call")
        host.unload()


def test_no_scheduler_fails_the_load(start_host: StartHost, plugin: Path) -> None:
    host = start_host(
        env={"CLUSTER": "tcp://127.0.0.1:9", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "200ms"},
        resident_threads=CORE_THREADS + DASK_THREADS + 1,  # distributed leaves the loop of such a client behind
        resident_fds=3,
    )
    assert host.load(plugin) == Status.ERR
    assert "Timed out trying to connect to tcp://127.0.0.1:9" in host.stderr_tail()
