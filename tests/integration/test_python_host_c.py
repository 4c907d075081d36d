"""The Python host with plugins in C, of every layout; what cannot be loaded; interrupts; its command and driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, BuildPlugin
from hosts.environments import compile_c, sanitizer_flags
from integration.test_python_host import run

pytestmark = pytest.mark.long  # no Python runs in the plugins

C_PLUGINS = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost"))).parent

V2_SOURCE = ROOT / "tests/plugins/python_host_v2.c"


def compile_v2(folder: Path, fault: int = 0) -> Path:
    """Compiles V2_SOURCE; returns the library."""
    out = folder / f"v2_{fault}.so"
    flags = ["-shared", "-Wall", "-Wextra", "-Werror", "-Ishim/abi", f"-DFAULT={fault}", *sanitizer_flags()]
    return compile_c(out, [V2_SOURCE], flags)


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_v2(tmp_path_factory.mktemp("v2"))


@pytest.mark.parametrize(("file", "abi"), [("c_plugin.so", "v1"), ("c_plugin_raw.so", "v1-raw")])
def test_a_c_plugin_of_v1(file: str, abi: str) -> None:
    code = """
        with Host.load(path, abi=sys.argv[2]) as host:
            assert (host.name, host.version) == ("c_plugin", "1.0.0")
            seen = host.call("info", b"xy", method="GET", path="/p", query="q=1", headers=[("k", "v")]).text
            assert seen == "GET /p?q=1 headers=1 body=2 k=v"
            assert host.call_raw("raw_echo", b"raw").data == b"raw"
            assert host.call_raw("info").text == "no request"
            assert host.call("deferred", b"by a thread").data == b"by a thread"
            assert host.call("error").status == Status.ERR
            assert host.call("state").text.startswith("no state here")
            assert len(list(host.call_stream("stream", b"2000"))) == 2001
            assert len(list(host.call_stream("burst"))) == 6
            with host.call_stream("duplex") as duplex:
                duplex.send(b"x")
                assert duplex.recv().data == b"x"
            assert host.in_progress == 0  # the drop closed it
            for entry, status in (("refuse", Status.UNSUPPORTED), ("nobody", Status.INVALID)):
                try:
                    host.call(entry)
                except RefusedError as error:
                    assert error.status == status
                else:
                    raise AssertionError
            held = []
            waiting = threading.Thread(target=lambda: held.append(host.call("hold")))
            waiting.start()
            while not waits(waiting): pass
        waiting.join()
        assert held[0].text == "shutting down"
    """
    run(code, C_PLUGINS / file, abi)


@pytest.mark.parametrize("entry", ["double_reply", "after_end", "reply_after_refuse", "unknown_sid", "bad_status"])
def test_a_plugin_that_breaks_its_promise_does_no_harm(entry: str) -> None:
    code = """
        with Host.load(path) as host:
            for i in range(20):
                try:
                    host.call(sys.argv[2])
                except RefusedError:
                    pass
                assert host.call("echo", str(i)).text == str(i)
            assert host.in_progress == 0
    """
    run(code, C_PLUGINS / "c_plugin.so", entry)


def test_a_send_after_shutdown_is_ignored() -> None:
    """The plugin keeps the host's pointers, and sends once more at the shutdown of its next instance."""
    code = """
        host = Host.load(path)
        host.call("late_send")
        keep = Host.load(path)
        host.unload()
        keep.instance.functions.shutdown()
        keep.instance.functions.shutdown()
    """
    run(code, C_PLUGINS / "c_plugin.so")


def test_a_lost_reply_ends_with_the_unload() -> None:
    code = """
        host = Host.load(path)
        lost = []
        def wait():
            try:
                host.call("lose_reply")
            except HostClosedError as error:
                lost.append(error)
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not waits(waiting): pass
        host.unload()
        waiting.join()
        assert len(lost) == 1
    """
    run(code, C_PLUGINS / "c_plugin.so")


def test_a_c_plugin_of_v2(v2: Path) -> None:
    code = """
        with Host.load(path) as host:
            assert (host.name, host.version, host.abi) == ("c_v2", "3", "v2")
            assert host.call("echo", b"hi").data == host.call_fast("echo", b"hi").data == b"hi"
            assert host.call_id(host.entry_id("echo"), b"id").data == b"id"
            assert host.entry_id("nobody") is None
            assert host.call("drop", b"12345").data == b"12345"
            assert host.call("owned", b"in its own memory").data == b"in its own memory"
            assert host.call("counts").text == "10 2"
            assert host.call("lease", b"leased" * 1000).data == b"leased" * 1000
            assert host.call_fast("lease", b"").data == b""
            assert host.call("panic").status is Status.PANIC
            assert host.call("thread").data == b"from a thread"
            with host.call_stream("burst") as burst:
                assert [burst.recv(30).data for _ in range(64)] == [b"x"] * 64
            for call, status in ((lambda: host.send_stream_data(1, b""), Status.BACKPRESSURE),
                                 (lambda: host.close_stream(1), Status.ERR)):
                try:
                    call()
                except RefusedError as error:
                    assert error.status is status, error
                else:
                    raise AssertionError
    """
    assert run(code, v2).stdout == "64\n"


REFUSED = [
    ("nowhere.so", None, "PluginNotFoundError", "no such file"),
    ("text.so", None, "LibraryError", "cannot be opened"),
    ("bare.so", None, "NotAPluginError", "does not export nylon_ring_get_plugin_v1"),
    ("v2_0.so", "v1", "NotAPluginError", "load it with abi='v2'"),
    ("v2_1.so", None, "NotAPluginError", "returned null"),
    ("v2_2.so", None, "AbiVersionError", "version 9, not 2"),
    ("v2_3.so", None, "InitRefusedError", "Status.UNSUPPORTED"),
    ("v2_4.so", None, "NotAPluginError", "table of functions is null"),
    ("v2_5.so", None, "NotAPluginError", "handle function is null"),
]


@pytest.mark.parametrize(("file", "abi", "error", "words"), REFUSED)
def test_what_cannot_be_loaded(tmp_path: Path, file: str, abi: str | None, error: str, words: str) -> None:
    (tmp_path / "text.so").write_text("no library")
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "/dev/null", "-o", str(tmp_path / "bare.so")], check=True)
    if file.startswith("v2_"):
        compile_v2(tmp_path, int(file[3]))
    code = f"""
        for i in range(3):
            try:
                Host.load(path, abi={abi!r})
            except LoadError as error:
                assert type(error) is {error} and error.path == path, repr(error)
                assert path in str(error) and {words!r} in str(error), error
            else:
                raise AssertionError
        with open("/proc/self/maps") as maps:
            assert os.path.basename(path) not in maps.read()
    """
    run(code, tmp_path / file)


def test_init_refused_by_a_v1_plugin() -> None:
    code = """
        try:
            Host.load(path)
        except InitRefusedError as error:
            assert error.status is Status.INVALID
            print("refused")
    """
    assert run(code, C_PLUGINS / "c_plugin.so", C_PLUGIN_REFUSES="1").stdout == "refused\n"


@pytest.mark.parametrize("built", ["v1", "v1-raw"])
@pytest.mark.parametrize("override", ["", "seed", "raw"])
def test_the_layout_of_our_own_files_is_found(build: BuildPlugin, built: str, override: str) -> None:
    """The wrong one would call one function where it means another."""
    source = (
        "from nylon_ring_py import Plugin\nplugin = Plugin('p')\n@plugin.handle_raw('e')\ndef e(data): return data\n"
    )
    code = """
        with Host.load(path) as host:
            assert host.abi == sys.argv[2], host.abi
            assert host.call_raw("e", b"x").data == host.call("e", b"x", path="/").data == b"x"
    """
    expected = {"": built, "seed": "v1", "raw": "v1-raw"}[override]
    run(code, build(source, "p", "--abi", built), expected, NYLON_RING_V1_LAYOUT=override)


def test_an_interrupt_inside_a_callback_is_raised_by_the_call(v2: Path) -> None:
    """The plugin sends until it is refused, on the main thread; Ctrl-C is neither lost nor passed through C."""
    code = """
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
        def interrupt(*args):
            signal.raise_signal(signal.SIGINT)
        with Host.load(path, stream_capacity=1 << 40) as host:
            for i in range(20):
                signal.signal(signal.SIGALRM, interrupt)
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.005)
                    host.call_stream("flood")
                except KeyboardInterrupt:
                    print("interrupted", flush=True)
                assert host.call("echo", b"goes on").data == b"goes on"
    """
    assert run(code, v2).stdout.splitlines() == ["interrupted"] * 20


def command(*arguments: object, text: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-P", "-m", "nylon_ring_py.host", *map(str, arguments)]
    return subprocess.run(words, input=text, capture_output=True, text=True, timeout=120)


def test_the_command() -> None:
    plugin = C_PLUGINS / "c_plugin.so"
    done = command("call", plugin, "info", "--path", "/x", "--header", "a: b", "--body", "hi")
    assert (done.returncode, done.stdout) == (0, "OK:  /x? headers=1 body=2 a=b\n"), done.stderr
    done = command("call", plugin, "error")
    assert (done.returncode, done.stdout) == (1, "ERR: Error: on purpose\n")
    done = command("call", plugin, "nobody")
    assert (done.returncode, done.stderr.count("Status.INVALID")) == (1, 1)
    done = command("call", "/nowhere.so", "x")
    assert (done.returncode, done.stderr) == (2, "/nowhere.so: there is no such file\n")
    done = command("stream", plugin, "duplex", "--send", "one", "--send", "two", "--close")
    assert done.stdout == "OK: one\nOK: two\nSTREAM_END: \n"


def test_the_driver_keeps_stdout_for_answers() -> None:
    lines = [
        "hello",
        f"load path={C_PLUGINS / 'c_plugin.so'} abi=v1",
        "call entry=print",
        "nonsense",
        "call entry=refuse",
    ]
    done = command("drive", text="\n".join([*lines, "quit"]) + "\n")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert answers[0]["abi"] == ["v1", "v1-raw", "v2"]
    assert "state" in answers[0]["cannot"]
    assert answers[2]["frames"][0]["hex"] == b"printed".hex()
    assert (answers[2]["ended"], answers[2]["timeout"], answers[2]["handle"]) == (True, False, 0)
    assert "nonsense" in answers[3]["error"]
    assert (answers[4]["handle"], answers[4]["frames"]) == (3, [])
    assert done.stderr == "a plugin prints\n"


@pytest.mark.parametrize("file", ["c_plugin.so", "c_plugin_raw.so"])
def test_many_loads_leave_nothing(file: str) -> None:
    code = """
        def rounds(count):
            for i in range(count):
                with Host.load(path, abi=sys.argv[2]) as host:
                    assert host.call("echo", str(i)).text == str(i)
                    host.call_stream("burst").close()
            gc.collect()
            return len(gc.get_objects())
        before = rounds(200)
        assert rounds(200) - before < 50  # fewer is no loss: 3.13 stops watching some tuples late
    """
    run(code, C_PLUGINS / file, "v1-raw" if "raw" in file else "v1")
