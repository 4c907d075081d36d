"""The host ends without a shutdown, or forks, while handlers run: no hang, no crash, its exit code kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, needs_fork
from hosts.environments import compile_host
from nrhost import TROUBLE, Status

RUNS = 20
# Runs that take long, most of all with handlers that cannot be ended: the exit waits for them as long as it may.
LONG = {"swallows": 4, "waits": 4, "late_import": 8}

SOURCE = """
    import hashlib
    import os
    import threading
    import zlib
    from nylon_ring_py import Plugin

    plugin = Plugin("busy", workers=3, shutdown_timeout_s=0.1)
    count = 0

    @plugin.handle_raw("begun", sync=True)
    def begun(payload):
        return str(count)

    @plugin.handle_raw("idle", sync=True)
    def idle(payload):
        return payload

    def busy(entry):
        def register(work):
            @plugin.handle(entry)
            def run(req):
                global count
                count += 1
                while True:
                    work()
        return register

    @busy("python")
    def compute():
        sum(range(1000))

    @busy("swallows")
    def swallow():
        try:
            sum(range(1000))
        except BaseException:
            pass

    @busy("waits")
    def wait():
        threading.Event().wait()

    @busy("hashlib")
    def digest():
        hashlib.pbkdf2_hmac("sha512", b"password", b"salt", 10_000)

    @busy("zlib")
    def compress():
        zlib.compress(os.urandom(400_000), 9)

    @plugin.handle_raw("broken_pipe")
    def broken_pipe(payload):
        ours, theirs = os.pipe()
        os.close(ours)
        try:
            os.write(theirs, b"x")
        except BrokenPipeError as error:
            return str(error.errno)
        finally:
            os.close(theirs)
"""

NUMPY = """
    import numpy
    from nylon_ring_py import Plugin

    plugin = Plugin("busy", workers=3)
    count = 0
    matrix = numpy.random.rand(300, 300)

    @plugin.handle_raw("begun", sync=True)
    def begun(payload):
        return str(count)

    @plugin.handle("numpy")
    def multiply(req):
        global count
        count += 1
        while True:
            matrix @ matrix
"""

# OpenSSL comes with a handler's import, long after init, and has an exit handler of its own. It is used for a while
# before the host may exit: that is when our exit handler goes in front again.
LATE_IMPORT = """
    from nylon_ring_py import Plugin

    plugin = Plugin("busy", workers=3)
    count = 0

    @plugin.handle_raw("begun", sync=True)
    def begun(payload):
        return str(count)

    @plugin.handle("late_import")
    def digest(req):
        global count
        import hashlib
        for i in range(10_000):
            count += i == 15
            hashlib.pbkdf2_hmac("sha512", b"password", b"salt", 10_000)
"""


@pytest.fixture(scope="module")
def ending_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "ending_host", "tests/hosts/ending_host.c")


@pytest.fixture(scope="module")
def busy(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "busy")


def run(host: Path, plugin: Path, entry: str, count: int, how: str, code: int) -> tuple[int, bytes]:
    """Runs the host to its end: its exit code (negative: a signal), and its stderr without a sanitizer's words."""
    command = [str(host), str(plugin), entry, str(count), how, str(code)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert not TROUBLE.search(done.stderr), done.stderr.decode()
    return done.returncode, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("entry", ["idle", "python", "swallows", "waits", "hashlib", "late_import", "zlib", "numpy"])
def test_the_process_exits_with_handlers_at_work(ending_host: Path, busy: Path, build: BuildPlugin, entry: str) -> None:
    if entry == "numpy":
        pytest.importorskip("numpy")
        busy = build(NUMPY)
    if entry == "late_import":
        busy = build(LATE_IMPORT)
    count = 0 if entry == "idle" else 3
    for i in range(LONG.get(entry, RUNS)):
        how = ("return", "exit_thread")[i % 2]
        code = 10 + i
        returned, said = run(ending_host, busy, entry, count, how, code)
        assert returned == code, (how, i, said.decode())
        assert b"Fatal" not in said


@pytest.mark.parametrize("how", ["exit_without_shutdown", "_exit", "return"])
@pytest.mark.parametrize("shutdown", [False, True])
def test_the_exit_code_is_the_host_s(start_host: StartHost, busy: Path, how: str, shutdown: bool) -> None:
    host = start_host()
    assert host.load(busy) == Status.OK
    host.submit("python")
    assert host.exit(how, code=42, shutdown=shutdown) == 42  # type: ignore[arg-type]  # one of its words


def test_what_was_printed_is_not_lost(start_host: StartHost, build: BuildPlugin) -> None:
    source = """
        import sys
        from nylon_ring_py import Plugin

        plugin = Plugin("printing")

        @plugin.handle("print")
        def say(req):
            print("a line")
            sys.stderr.write("another line\\n")
    """
    host = start_host()
    assert host.load(build(source)) == Status.OK
    assert host.call("print").reply.status == Status.OK
    assert host.exit("exit_without_shutdown") == 0
    assert b"a line\n" in host.stderr()
    assert b"another line\n" in host.stderr()


# ---- fork ----


@pytest.mark.parametrize("entry", ["idle", "python", "waits"])
def test_a_forked_child_is_refused_and_leaves(ending_host: Path, busy: Path, entry: str) -> None:
    """Err from handle, shutdown and dlclose harmless, exit() clean; the parent goes on."""
    needs_fork()
    for code in (0, 7):
        assert run(ending_host, busy, entry, 0 if entry == "idle" else 2, "fork", code)[0] == code


@pytest.mark.parametrize("entry", ["idle", "begun"])
def test_a_fork_in_between(start_host: StartHost, busy: Path, entry: str) -> None:
    needs_fork()
    host = start_host()
    assert host.load(busy) == Status.OK
    for _ in range(10):
        assert host.call("idle", door="raw", body=b"x").reply.data == b"x"
        forked = host.fork(entry, door="raw")
        assert (forked.hung, forked.signal, forked.handle) == (False, 0, Status.ERR)
        assert not forked.answered
    assert host.call("idle", door="raw", body=b"parent").reply.data == b"parent"


# ---- SIGPIPE ----


def test_sigpipe_at_its_default_is_warned_about(ending_host: Path, busy: Path) -> None:
    """Our own threads block it all the same: a worker's write fails as Python expects."""
    returned, said = run(ending_host, busy, "broken_pipe", 0, "sigpipe", 0)
    assert returned == 32
    assert said.count(b"plugin 'busy': this host leaves SIGPIPE at its default") == 1


def test_a_host_that_ignores_sigpipe_is_not_warned(start_host: StartHost, busy: Path) -> None:
    host = start_host()
    assert host.load(busy) == Status.OK
    assert host.call("broken_pipe", door="raw").reply.text == "32"
    assert b"SIGPIPE" not in host.stderr()
