"""A process that is Python already, or has it linked in: plugins join its interpreter as guests, and never end it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, build_plugin
from hosts.environments import DEBIAN_PYTHON, Environment, compile_host, describe, make_environment, missing
from nrhost import Status

SOURCE = """
    import atexit
    import os
    import sys
    import threading
    from nylon_ring_py import Plugin

    plugin = Plugin("guest", workers=2, shutdown_timeout_s=5)

    @plugin.handle("echo")
    def echo(req):
        return req.body

    @plugin.handle_sync("sync")
    def sync(req):
        return req.body

    @plugin.handle_sync("thread")
    def thread(req):
        return f"{os.getpid()} {threading.get_ident()} {sys.prefix} {sys.version_info[1]}"

    @plugin.handle("feed")
    def feed(req):
        for i in range(3):
            yield str(i)

    @plugin.handle("wait")
    def wait(req):
        threading.Event().wait(0.3)
        return b"waited"

    @plugin.on_shutdown
    def bye():
        print("on_shutdown", flush=True)

    atexit.register(print, "exit callback", flush=True)
"""

# A host in Python, by ctypes alone. `call` returns (handle's status, replies).
PYTHON_HOST = """
    import atexit, ctypes, os, sys, threading, queue

    # Registered before the plugin's own, so it runs after that.
    last = []
    atexit.register(lambda: [each() for each in last])

    class Str(ctypes.Structure):
        _fields_ = [("ptr", ctypes.c_char_p), ("len", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]
    class Bytes(ctypes.Structure):
        _fields_ = [("ptr", ctypes.c_void_p), ("len", ctypes.c_uint64)]
    Send = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, Bytes)
    class Info(ctypes.Structure):
        _fields_ = [("abi", ctypes.c_uint32), ("size", ctypes.c_uint32), ("name", Str), ("version", Str),
                    ("ctx", ctypes.c_void_p), ("vtable", ctypes.POINTER(ctypes.c_void_p * 5))]

    class Host:
        def __init__(self, path, functype=ctypes.CFUNCTYPE):
            image = ctypes.CDLL(path)
            image.nylon_ring_get_plugin_v1.restype = ctypes.POINTER(Info)
            self.info = image.nylon_ring_get_plugin_v1().contents
            table = self.info.vtable.contents
            P, U = ctypes.c_void_p, ctypes.c_uint32
            self._init = functype(U, P, P, P)(table[0])
            self._handle = functype(U, P, Str, ctypes.c_uint64, P, Bytes)(table[1])
            self._shutdown = functype(None, P)(table[2])
            self.replies, self.lock, self.last = {}, threading.Lock(), 0
            self.send = Send(self._send_result)
            self.vtable = (ctypes.c_void_p * 1)(ctypes.cast(self.send, ctypes.c_void_p))
        def _send_result(self, ctx, sid, status, data):
            self.replies[sid].put((status, ctypes.string_at(data.ptr, data.len) if data.len else b""))
        def init(self):
            return self._init(self.info.ctx, 1, ctypes.addressof(self.vtable))
        def submit(self, entry, body=b""):
            with self.lock:
                self.last += 1
                sid = self.last
            answers = self.replies[sid] = queue.Queue()
            kept = ctypes.create_string_buffer(body)
            name = entry.encode()
            view = Bytes(ctypes.cast(kept, ctypes.c_void_p), len(body))
            return self._handle(self.info.ctx, Str(name, len(name), 0), sid, None, view), answers
        def call(self, entry, body=b""):
            status, answers = self.submit(entry, body)
            assert status == 0, status
            return answers.get(timeout=20)
        def shutdown(self):
            self._shutdown(self.info.ctx)

    host = Host(sys.argv[1])
"""

CALLS = """
    assert host.init() == 0
    main = threading.get_ident()
    assert host.call("echo", b"by a worker") == (0, b"by a worker")
    assert host.call("sync", b"here") == (0, b"here")
    pid, thread, prefix, minor = host.call("thread")[1].decode().split(" ")
    assert int(pid) == os.getpid() and int(thread) == main
    assert (prefix, int(minor)) == (sys.prefix, sys.version_info[1]), prefix
    status, answers = host.submit("feed")
    assert [answers.get(timeout=20) for _ in range(4)] == [(0, b"0"), (0, b"1"), (0, b"2"), (4, b"")]

    def work():
        for i in range(200):
            body = str(i).encode()
            assert host.call("echo", body) == host.call("sync", body) == (0, body)
        done.append(True)
    done = []
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(done) == 6
"""

ENDS = {
    "shutdown": "host.shutdown(); host.shutdown(); assert host.submit('sync')[0] == 2; print('host: done', flush=True)",
    "no shutdown": "print('host: done', flush=True)",
    "no shutdown, calls running": """
        answers = [host.submit("wait")[1] for _ in range(6)]
        def look():
            statuses = [each.get(timeout=20)[0] for each in answers]
            assert len(statuses) == 6 and set(statuses) <= {0, 1}, statuses
            print("host: all answered", flush=True)
        last.append(look)
        print('host: done', flush=True)
    """,
    "exit code": "print('host: done', flush=True); sys.exit(7)",
}


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A venv of Debian's Python, which is static: its libpython lies beside it and is another image."""
    if not DEBIAN_PYTHON.exists():
        missing(str(DEBIAN_PYTHON))
    return make_environment(tmp_path_factory.mktemp("debian") / "debian", DEBIAN_PYTHON)


@pytest.fixture(scope="module")
def own(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "guest")


@pytest.fixture(scope="module", params=["own", "debian"])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A Python that hosts, and a plugin built for it: with a shared libpython, and Debian's without."""
    folder = tmp_path_factory.mktemp("guests")
    if request.param == "own":
        return sys.executable, build_plugin(SOURCE, folder / "guest.so")
    executable = str(request.getfixturevalue("debian").python)
    return executable, build_plugin(SOURCE, folder / "guest.so", "--python", executable)


def run_python(executable: str, plugin: Path, *code: str) -> subprocess.CompletedProcess[str]:
    text = "\n".join(textwrap.dedent(part) for part in (PYTHON_HOST, *code))
    return subprocess.run([executable, "-I", "-c", text, str(plugin)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("end", list(ENDS))
def test_python_loads_a_plugin(python: tuple[str, Path], end: str) -> None:
    """By ctypes: calls from its main thread and its threads; then its own end, with or without a shutdown."""
    done = run_python(*python, CALLS, ENDS[end])
    assert done.returncode == (7 if end == "exit code" else 0), done.stderr
    lines = done.stdout.splitlines()
    assert sorted(line for line in lines if line in ("on_shutdown", "exit callback")) == [
        "exit callback",
        "on_shutdown",
    ]
    assert "host: done" in lines
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr
    if "running" in end:
        assert "host: all answered" in lines


def test_with_the_gil_held(python: tuple[str, Path]) -> None:
    """A host that calls without leaving the GIL (PyDLL): init, a synchronous call and shutdown do not deadlock."""
    code = """
        host = Host(sys.argv[1], ctypes.PYFUNCTYPE)
        assert host.init() == 0
        for i in range(100):
            assert host.call("sync", b"held") == (0, b"held")
            assert host.call("echo", b"held") == (0, b"held")
        host.shutdown()
    """
    done = run_python(*python, code)
    assert done.returncode == 0, done.stderr


def test_the_program_s_main_thread_stays_its_own(python: tuple[str, Path], tmp_path: Path) -> None:
    """In a program that has not imported threading, and a handler on a worker does."""
    source = """
        from nylon_ring_py import Plugin

        plugin = Plugin("importing")

        @plugin.handle("import")
        def import_it(req):
            import threading
            return str(threading.main_thread() is threading.current_thread())
    """
    code = """
        from types import SimpleNamespace
        from _thread import allocate_lock
        from _queue import SimpleQueue

        assert "threading" not in sys.modules
        threading, queue = SimpleNamespace(Lock=allocate_lock), SimpleNamespace(Queue=SimpleQueue)
        host = Host(sys.argv[1])
        assert host.init() == 0
        assert host.call("import") == (0, b"False")
        import threading
        assert threading.main_thread() is threading.current_thread(), threading.enumerate()
        host.shutdown()
    """
    plugin = build_plugin(source, tmp_path / "importing.so", "--python", python[0])
    host = PYTHON_HOST.replace("os, sys, threading, queue", "os, sys").replace("host = Host(sys.argv[1])", "")
    text = "\n".join(map(textwrap.dedent, (host, code)))
    done = subprocess.run([python[0], "-I", "-c", text, str(plugin)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_python_is_unharmed_afterwards(python: tuple[str, Path]) -> None:
    """Many loads and unloads; what the guest Python had stays as it was."""
    code = """
        before = sys.getswitchinterval(), sys.stdout.line_buffering, set(sys.modules), list(sys.meta_path)
        from nylon_ring_py._importer import _finder
        for i in range(20):
            again = Host(sys.argv[1])
            assert again.init() == 0
            assert again.call("echo", b"x") == (0, b"x")
            again.shutdown()
        assert sys.getswitchinterval() == before[0]
        assert sys.stdout.line_buffering == before[1]
        assert [name for name in sys.modules if name.startswith("nylon_ring_plugin_")] == []
        assert sys.meta_path == [_finder, *before[3]]
        assert threading.active_count() == 1, threading.enumerate()
    """
    done = run_python(*python, code)
    assert done.returncode == 0, done.stderr


def test_a_plugin_of_another_environment_is_refused(python: tuple[str, Path], tmp_path: Path) -> None:
    """The host's Python sees its own site-packages only; both prefixes are named, and the host goes on."""
    executable, good = python
    bare = tmp_path / "bare"
    other = make_environment(bare, executable)
    code = f"""
        assert host.init() == 0
        other = Host({str(build_plugin(SOURCE, tmp_path / "other.so", "--python", str(other.python)))!r})
        assert other.init() == 1
        assert host.call("echo", b"still") == (0, b"still")
        host.shutdown()
    """
    done = run_python(executable, good, code)
    assert done.returncode == 0, done.stderr
    assert describe(executable)["prefix"] in done.stderr
    assert str(other.folder) in done.stderr


def test_a_plugin_of_debian_s_python_under_the_c_host(
    start_host: StartHost, debian: Environment, tmp_path: Path
) -> None:
    """Its interpreter is static; the libpython of its package is what a host runs."""
    library = describe(debian.python)["libpython"]
    if not library:
        missing("Debian's libpython")
    host = start_host()
    plugin = build_plugin(SOURCE, tmp_path / "plugin.so", "--python", str(debian.python))
    for _ in range(3):
        assert host.load(plugin) == Status.OK
        assert host.call("echo", body=b"x").reply.data == b"x"
        assert host.call("thread").reply.text.split(" ")[2] == str(debian.folder)
        host.unload()
    with Path(f"/proc/{host.pid}/maps").open() as maps:
        assert str(Path(library).resolve()) in maps.read()


# ---- a C host with Python inside ----


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a host of tests/hosts that is linked to this Python's library."""
    folder = tmp_path_factory.mktemp("hosts")
    facts = describe(sys.executable)
    library = Path(facts["libpython"])
    if not facts["libpython"]:
        missing("a shared libpython")
    include = sysconfig.get_path("include")

    def run(name: str) -> Path:
        flags = [f"-I{include}", str(library), f"-Wl,-rpath,{library.parent}", "-Wl,--no-as-needed"]
        return compile_host(folder / name, f"tests/hosts/{name}.c", *flags)

    return run


def test_a_c_host_that_runs_python(start_host: StartHost, embedding: Callable[[str], Path], own: Path) -> None:
    """It started Python, left the GIL, and ends Python by itself at the end."""
    host = start_host(binary=embedding("guest_host"), env={"GUEST_PROGRAM": sys.executable})
    for _ in range(5):
        assert host.load(own) == Status.OK
        for place in ("main", "thread", "pool:1"):
            assert host.call("sync", body=b"x", on=place).reply.data == b"x"
            assert host.call("echo", body=b"x", on=place).reply.data == b"x"
        assert host.call("thread").reply.text.split(" ")[2] == sys.prefix
        storm = host.storm(calls=2000, threads=4, unary="echo", fast="sync", check_echo=True)
        assert storm.accepted == storm.terminals == 2000
        host.unload()


def test_a_c_host_that_ends_python_with_a_plugin_open(embedding: Callable[[str], Path], own: Path) -> None:
    """Py_FinalizeEx meets an open instance: it is shut down first, with its hooks, and the host ends as it wanted."""
    host = embedding("finalizing_host")
    for _ in range(5):
        done = subprocess.run([str(host), str(own), sys.executable], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["on_shutdown", "exit callback"]


def test_a_c_host_linked_to_python_that_never_starts_it(
    start_host: StartHost, embedding: Callable[[str], Path], own: Path
) -> None:
    """The library in the process is used, and the interpreter is ours."""
    host = start_host(binary=embedding("linked_host"))
    for _ in range(3):
        assert host.load(own) == Status.OK
        assert host.call("echo", body=b"x").reply.data == b"x"
        assert host.call("thread").reply.text.split(" ")[2] == sys.prefix
        host.unload()
    with Path(f"/proc/{host.pid}/maps").open() as maps:
        images = {line.split()[-1] for line in maps if "libpython3" in line}
    assert len(images) == 1
