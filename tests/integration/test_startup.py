"""A plugin that cannot start: init says no, stderr says why and what to do, and nothing is left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, build_plugin
from hosts.environments import (
    Environment,
    compile_host,
    describe,
    installed_stub,
    make_environment,
    python_of_another_minor,
)
from nrhost import HostError, NrHost, Status

GOOD = """
    import sys
    import threading
    from nylon_ring_py import Plugin

    plugin = Plugin("good")

    @plugin.handle("echo")
    def echo(req):
        return req.body

    @plugin.handle_sync("left")
    def left(req):
        private = [name for name in sys.modules if name.startswith("nylon_ring_plugin_")]
        return " ".join([name for name in private if not name.startswith("nylon_ring_plugin_good")])

    @plugin.handle("python")
    def python(req):
        return f"{sys.version_info[0]}.{sys.version_info[1]} {sys.prefix}"
"""


@pytest.fixture(scope="module")
def good(build_once: BuildPlugin) -> Path:
    return build_once(GOOD, "good")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment beside the one that runs the tests. Not to be changed."""
    return make_environment(tmp_path_factory.mktemp("environments") / "other")


def refused(host: NrHost, path: Path) -> str:
    """Loads a plugin that must not start. Returns what it said."""
    before = len(host.stderr())
    assert host.load(path, plugin="bad") == Status.ERR
    said = host.stderr()[before:].decode()
    assert "did not start: " in said
    return said


def replace(path: Path, data: bytes) -> None:
    """As installers do it: a file that is mapped somewhere is never written to."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


def check_good(host: NrHost, good: Path) -> None:
    """A good plugin loads all the same, and finds nothing of the one that failed."""
    assert host.load(good) == Status.OK
    assert host.call("echo", body=b"x").reply.data == b"x"
    assert host.call("left").reply.text == ""


# ---- the Python it was built for ----


def test_the_recorded_python_is_gone(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    gone = make_environment(tmp_path / "gone")
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(gone.python))
    shutil.rmtree(gone.folder)
    host = start_host()
    said = refused(host, plugin)
    assert str(gone.python) in said
    assert "NYLON_RING_PYTHON" in said
    check_good(host, good)


def test_the_core_is_gone(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    environment = make_environment(tmp_path / "environment")
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(environment.python))
    environment.core.unlink()
    host = start_host()
    said = refused(host, plugin)
    assert f"{environment.python} -m pip install" in said
    check_good(host, good)


def test_the_package_is_gone(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    environment = make_environment(tmp_path / "environment")
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(environment.python))
    shutil.rmtree(environment.package)
    host = start_host()
    assert f"{environment.python} does not have nylon_ring_py" in refused(host, plugin)
    check_good(host, good)


def test_the_environment_is_now_another_python(start_host: StartHost, tmp_path: Path) -> None:
    """Its prefix would be right, and its site-packages another version's."""
    environment = make_environment(tmp_path / "environment")
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(environment.python))
    configuration = environment.folder / "pyvenv.cfg"
    lines = configuration.read_text().splitlines()
    configuration.write_text("\n".join("version = 3.99.1" if line.startswith("version") else line for line in lines))
    said = refused(start_host(), plugin)
    assert f"{environment.folder} is now Python 3.99, the plugin needs" in said


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (20, (9).to_bytes(2, "little"), "speaks version 9."),
        (12, 0x03630000.to_bytes(4, "little"), "was compiled for Python 3.99"),
        (16, (1).to_bytes(4, "little"), f"was compiled for Python 3.{sys.version_info[1]} free-threaded"),
    ],
    ids=["another core", "another Python", "a free-threaded Python"],
)
def test_a_core_of_another_version(
    start_host: StartHost, tmp_path: Path, good: Path, place: int, value: bytes, reason: str
) -> None:
    environment = make_environment(tmp_path / "environment")
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(environment.python))
    image = bytearray(environment.core.read_bytes())
    at = image.index(0x6E72707963303176.to_bytes(8, "little")) + place
    image[at : at + len(value)] = value
    replace(environment.core, bytes(image))
    host = start_host()
    said = refused(host, plugin)
    assert reason in said
    assert str(environment.core) in said
    check_good(host, good)


def test_a_core_that_is_no_core(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    environment = make_environment(tmp_path / "environment")
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(environment.python))
    host = start_host()
    replace(environment.core, installed_stub().read_bytes())
    assert f"{environment.core} is no nylon-ring core" in refused(host, plugin)
    replace(environment.core, b"not an image")
    assert f"cannot open the core {environment.core}" in refused(host, plugin)
    check_good(host, good)


# ---- NYLON_RING_PYTHON ----


def test_the_variable_names_nothing(start_host: StartHost, good: Path) -> None:
    host = start_host(env={"NYLON_RING_PYTHON": "/nowhere/python3"})
    said = refused(host, good)
    assert "cannot run /nowhere/python3" in said
    host.setenv("NYLON_RING_PYTHON", "")
    check_good(host, good)


def test_the_variable_names_a_python_without_the_package(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    bare = make_environment(tmp_path / "bare", package=False)
    host = start_host(env={"NYLON_RING_PYTHON": str(bare.python)})
    said = refused(host, good)
    assert f"{bare.python} does not have nylon_ring_py" in said
    assert f"{bare.python} -m pip install" in said


def test_the_variable_names_something_that_is_no_python(start_host: StartHost, good: Path) -> None:
    assert "/bin/true does not have nylon_ring_py" in refused(start_host(env={"NYLON_RING_PYTHON": "/bin/true"}), good)


def test_a_python_of_another_minor(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    """Named by the variable it serves every plugin; beside a running one it is refused with both named."""
    base = python_of_another_minor()
    bare = make_environment(tmp_path / "bare", base, package=False)
    environment = make_environment(tmp_path / "environment", base)
    version = describe(environment.python)["python_version"]
    host = start_host(env={"NYLON_RING_PYTHON": str(bare.python)})
    assert "does not have nylon_ring_py" in refused(host, good)
    host.setenv("NYLON_RING_PYTHON", str(environment.python))
    assert host.load(good) == Status.OK
    assert host.call("python").reply.text == f"{version} {environment.folder}"
    host.setenv("NYLON_RING_PYTHON", "")
    said = refused(host, good)
    assert f"the Python already in this process is Python {version}" in said
    assert f"the plugin's Python is 3.{sys.version_info[1]}" in said
    assert host.call("echo", body=b"still").reply.data == b"still"


# ---- two environments in one process ----


def test_a_plugin_of_another_environment(start_host: StartHost, tmp_path: Path, good: Path, other: Environment) -> None:
    """The second is refused with both named, the first goes on; one that serves all can be named."""
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(other.python))
    host = start_host()
    assert host.load(good) == Status.OK
    said = refused(host, plugin)
    assert sys.prefix in said
    assert str(other.folder) in said
    assert host.call("echo", body=b"still").reply.data == b"still"
    host.setenv("NYLON_RING_PYTHON", sys.executable)
    assert host.load(plugin, plugin="bad") == Status.OK
    assert host.call("python", plugin="bad").reply.text.endswith(f" {sys.prefix}")


def test_the_other_environment_alone(start_host: StartHost, tmp_path: Path, good: Path, other: Environment) -> None:
    plugin = build_plugin(GOOD, tmp_path / "plugin.so", "--python", str(other.python))
    host = start_host()
    assert host.load(plugin) == Status.OK
    assert host.call("python").reply.text.endswith(f" {other.folder}")
    host.unload()
    refused(host, good)


# ---- the file ----


@pytest.mark.parametrize("size", [0, 40, 64])
def test_a_file_cut_in_its_head_is_no_plugin(start_host: StartHost, tmp_path: Path, good: Path, size: int) -> None:
    """Cut behind it, but before the payload, a file ends the process in the dynamic loader: nobody can help that."""
    cut = tmp_path / "cut.so"
    cut.write_bytes(good.read_bytes()[:size])
    host = start_host()
    with pytest.raises(HostError, match=r"cut\.so: (file too short|cannot read file data)"):
        host.load(cut, plugin="bad")
    check_good(host, good)


@pytest.mark.parametrize("lost", [1, 100, 2000, 4096, 6000])
def test_a_file_cut_in_its_payload(start_host: StartHost, tmp_path: Path, good: Path, lost: int) -> None:
    """Section headers at the very end may be lost without harm; a byte of the payload may not."""
    cut = tmp_path / "cut.so"
    cut.write_bytes(good.read_bytes()[:-lost])
    host = start_host()
    status = host.load(cut, plugin="bad")
    if status == Status.OK:
        assert host.call("echo", plugin="bad", body=b"whole").reply.data == b"whole"
    else:
        assert "build the plugin again" in host.stderr_tail()
    check_good(host, good)


@pytest.mark.parametrize(
    "command", [["strip", "-s"], ["strip", "-g"], ["objcopy", "--strip-all"], ["llvm-strip", "-s"]], ids=" ".join
)
def test_a_stripped_file_works(start_host: StartHost, tmp_path: Path, good: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"missing: {command[0]}")
    stripped = tmp_path / "stripped.so"
    shutil.copy(good, stripped)
    subprocess.run([*command, str(stripped)], check=True)
    assert stripped.read_bytes() != good.read_bytes()
    host = start_host()
    check_good(host, stripped)


def test_the_stub_without_a_payload(start_host: StartHost, good: Path) -> None:
    host = start_host()
    assert "bare stub and holds no plugin" in refused(host, installed_stub())
    check_good(host, good)


def test_a_damaged_payload(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    image = bytearray(good.read_bytes())
    place = image.index(b"nylon_ring_plugin_good")
    image[place] ^= 1
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(image)
    host = start_host()
    assert "payload is damaged: its SHA-256" in refused(host, damaged)
    check_good(host, good)


# ---- the plugin's own code ----


def test_a_syntax_error_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("from nylon_ring_py import Plugin\n\ndef f(:\n")
    command = [sys.executable, "-m", "nylon_ring_py.cli", "build-plugin", "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "wrong.py" in done.stderr
    assert "wrong.py:3: SyntaxError" in done.stderr
    assert not (tmp_path / "wrong.so").exists()


FAILING = """
    import os
    import sys
    import threading
    from nylon_ring_py import Plugin
    import helpers

    host_side = "NRPY_TEST_HOST" in os.environ
    if host_side and {at_import}:
        {failure}
    if not host_side or {has_plugin}:
        plugin = Plugin("failing")

        @plugin.handle("echo")
        def echo(req):
            return req.body

        @plugin.on_init
        def start():
            if {in_hook}:
                {failure}
"""

CASES = {
    "module raises": ("True", "raise RuntimeError('no database')", "True", "False", "RuntimeError: no database"),
    "module exits": ("True", "sys.exit(3)", "True", "False", "SystemExit: 3"),
    "module is interrupted": ("True", "raise KeyboardInterrupt", "True", "False", "KeyboardInterrupt"),
    "import fails": ("True", "import no_such_module", "True", "False", "No module named 'no_such_module'"),
    "no Plugin object": ("False", "pass", "False", "False", "was built for the object 'plugin'"),
    "on_init raises": ("False", "raise OSError('port is taken')", "True", "True", "OSError: port is taken"),
    "on_init exits": ("False", "os.sys.exit('gone')", "True", "True", "SystemExit: gone"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_plugin_whose_code_fails(start_host: StartHost, tmp_path: Path, good: Path, case: str) -> None:
    at_import, failure, has_plugin, in_hook, reason = CASES[case]
    package = tmp_path / "failing"
    package.mkdir()
    (package / "helpers.py").write_text("value = 1\n")
    source = FAILING.format(at_import=at_import, failure=failure, has_plugin=has_plugin, in_hook=in_hook)
    (package / "__init__.py").write_text(_dedent(source.replace("import helpers", "from . import helpers")))
    plugin = build_plugin(package, tmp_path / "failing.so")
    host = start_host(env={"NRPY_TEST_HOST": "1"})
    said = refused(host, plugin)
    assert reason in said
    assert "sys.path:" in said
    if "raise" in failure:
        assert f"{plugin}/failing/__init__.py" in said
    refused(host, plugin)
    check_good(host, good)
    assert host.process().children == 0


def _dedent(source: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in source.splitlines())


def test_a_failed_init_gives_the_instance_up(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    """Many failures in a row, threads and exit callbacks of the plugin included, leave no trace."""
    source = """
        import atexit
        import threading
        from nylon_ring_py import Plugin

        plugin = Plugin("failing")
        gate = threading.Event()
        worker = threading.Thread(target=gate.wait)

        @atexit.register
        def leave():
            gate.set()
            worker.join()

        @plugin.on_init
        def start():
            worker.start()
            raise ValueError("never")
    """
    plugin = build_plugin(source, tmp_path / "failing.so")
    host = start_host()
    for _ in range(20):
        refused(host, plugin)
    check_good(host, good)


def test_a_racing_failure_and_a_good_start(start_host: StartHost, tmp_path: Path, good: Path) -> None:
    source = """
        import os
        from nylon_ring_py import Plugin

        plugin = Plugin("bad")
        assert "NRPY_TEST_HOST" not in os.environ
    """
    bad = build_plugin(source, tmp_path / "bad.so")
    host = start_host(env={"NRPY_TEST_HOST": "1"})
    jobs = []
    for i in range(6):
        path, name = (bad, f"bad{i}") if i % 2 else (good, f"good{i}")
        jobs.append((i, host.command("load", [("async", 1), ("path", path), ("plugin", name), ("ledger", 1)])["job"]))
    for i, job in jobs:
        assert host.join(job)["init"] == (Status.ERR if i % 2 else Status.OK)
    for i in (0, 2, 4):
        assert host.call("echo", plugin=f"good{i}", body=b"x").reply.data == b"x"
    for i in (0, 2, 4):
        assert host.command("unload", [("plugin", f"good{i}")])["ledger"]["clean"]


def test_init_out_of_turn(start_host: StartHost, good: Path) -> None:
    host = start_host()
    assert host.load(good, get_only=True) is None
    assert host.call("echo").handle == Status.INVALID
    assert host.init() == Status.OK
    assert host.init() == Status.INVALID
    assert host.call("echo", body=b"x").reply.data == b"x"
    for wrong in ("null", "host", "own+8", "own+256", "own-256", "12345"):
        assert host.init(ctx=wrong) == Status.INVALID
    assert host.call("echo", body=b"x").reply.data == b"x"


def test_a_host_that_closed_its_standard_streams(good: Path, tmp_path: Path) -> None:
    """A daemon's fds 0, 1 and 2 may be anything: Python starts, and the plugin answers."""
    program = compile_host(tmp_path / "closed", "tests/hosts/closed_streams.c")
    assert subprocess.run([str(program), str(good)]).returncode == 0


def test_collections_pass_over_what_the_runtime_began_with(start_host: StartHost, build: BuildPlugin) -> None:
    """The collector runs while the plugin's own modules are imported, and does not walk the runtime's."""
    host = start_host()
    plugin = build(
        """
        import gc
        import os
        from nylon_ring_py import Plugin

        plugin = Plugin("collected")
        at_import = gc.isenabled()

        @plugin.handle_sync("seen")
        def seen(req):
            walked = any(each is vars(os) for each in gc.get_objects())
            return f"{at_import} {gc.isenabled()} {walked} {any(each is globals() for each in gc.get_objects())}"
        """
    )
    host.load(plugin)
    assert host.call("seen").reply.data == b"True True False True"
