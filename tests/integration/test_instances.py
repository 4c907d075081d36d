"""Several plugins and instances in one process: each has its own modules, slots and threads."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, build_plugin
from nrhost import NrHost, Status

SLOTS = 256
RESTING = 16  # ended instances of shim/core/instance.c


def load_all(host: NrHost, loads: list[tuple[str, Path]]) -> list[int]:
    """Loads at once, a thread each. Returns the statuses of init."""
    jobs = [
        host.command("load", [("async", 1), ("path", path), ("plugin", name), ("ledger", 1)])["job"]
        for name, path in loads
    ]
    return [host.join(job)["init"] for job in jobs]


def unload_all(host: NrHost, names: list[str]) -> None:
    for name in names:
        ledger = host.command("unload", [("plugin", name)])["ledger"]
        assert ledger["clean"], ledger


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two packages with the same module names, that differ in one value; and a file with a helper of that name too."""
    folder = tmp_path_factory.mktemp("twins")
    built = []
    for name in ("first", "second"):
        package = folder / name / "app"
        package.mkdir(parents=True)
        source = f"""
            from nylon_ring_py import Plugin
            from . import helpers

            plugin = Plugin("{name}")

            @plugin.handle("eager")
            def eager(req):
                return helpers.NAME

            @plugin.handle("lazy")
            def lazy(req):
                import app.late
                from app import late
                return f"{{app.late.NAME}} {{late.helpers.NAME}}"

            @plugin.handle_sync("lazy_sync")
            def lazy_sync(req):
                from app.late import NAME
                return NAME

            @plugin.handle("dynamic")
            def dynamic(req):
                import importlib
                return importlib.import_module(".late", __package__).NAME
        """
        (package / "__init__.py").write_text(textwrap.dedent(source))
        (package / "helpers.py").write_text(f"NAME = 'helpers of {name}'\n")
        (package / "late.py").write_text(f"import app.helpers as helpers\n\nNAME = 'late of {name}'\n")
        built.append(build_plugin(package, folder / f"{name}.so"))
    return built


def test_modules_of_the_same_name(start_host: StartHost, twins: list[Path]) -> None:
    host = start_host()
    for name, file in zip(("first", "second"), twins, strict=True):
        assert host.load(file, plugin=name) == Status.OK
    for name in ("second", "first"):
        assert host.call("eager", plugin=name).reply.text == f"helpers of {name}"
        assert host.call("lazy_sync", plugin=name).reply.text == f"late of {name}"
        assert host.call("lazy", plugin=name).reply.text == f"late of {name} helpers of {name}"
        assert host.call("dynamic", plugin=name).reply.text == f"late of {name}"
    host.unload(plugin="first")
    assert host.call("lazy", plugin="second").reply.text == "late of second helpers of second"


def test_files_with_a_helper_of_the_same_name(start_host: StartHost, tmp_path: Path) -> None:
    host = start_host()
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "helpers.py").write_text(f"NAME = 'helpers of {name}'\n")
        source = f"""
            from nylon_ring_py import Plugin
            import helpers

            plugin = Plugin("{name}")

            @plugin.handle("lazy")
            def lazy(req):
                import helpers as again
                assert again is helpers
                return again.NAME
        """
        (folder / "main.py").write_text(textwrap.dedent(source))
        assert host.load(build_plugin(folder / "main.py", folder / "plugin.so"), plugin=name) == Status.OK
    for name in ("one", "two"):
        assert host.call("lazy", plugin=name).reply.text == f"helpers of {name}"


COUNTER = """
    from nylon_ring_py import Plugin

    plugin = Plugin("counter", workers=1)
    count = 0

    @plugin.handle_sync("count")
    def count_calls(req):
        global count
        count += 1
        return str(count)

    @plugin.handle("echo")
    def echo(req):
        return req.body
"""


@pytest.fixture(scope="module")
def counter(build_once: BuildPlugin) -> Path:
    return build_once(COUNTER, "counter")


def test_three_hundred_instances_of_one_file(start_host: StartHost, counter: Path) -> None:
    """256 are served; the others are told so, and those go on. A place given up is used again."""
    host = start_host()
    statuses = [host.load(counter, plugin=f"p{i}") for i in range(300)]
    assert statuses == [Status.OK] * SLOTS + [Status.ERR] * (300 - SLOTS)
    assert "256 instances of this file are open already" in host.stderr_tail()
    for i in (0, 1, 100, 255):
        assert host.call("count", plugin=f"p{i}").reply.text == "1"
        assert host.call("echo", plugin=f"p{i}", body=b"x").reply.data == b"x"
    host.unload(plugin="p7")
    assert host.load(counter, plugin="again") == Status.OK
    assert host.call("count", plugin="again").reply.text == "1"
    assert host.call("count", plugin="p0").reply.text == "2"
    assert host.load(counter, plugin="one more") == Status.ERR


def test_eight_plugins_start_at_once(start_host: StartHost, tmp_path: Path, counter: Path) -> None:
    """The first loads of a process race for the one Python."""
    files = []
    for i in range(8):
        file = tmp_path / f"plugin{i}.so"
        file.write_bytes(counter.read_bytes())
        files.append((f"p{i}", file))
    for _ in range(5):
        host = start_host()
        assert load_all(host, files) == [Status.OK] * 8
        for name, _ in files:
            assert host.call("count", plugin=name).reply.text == "1"
        unload_all(host, [name for name, _ in files])


def test_instances_of_one_file_start_at_once(start_host: StartHost, counter: Path) -> None:
    for _ in range(5):
        host = start_host()
        names = [f"p{i}" for i in range(8)]
        assert load_all(host, [(name, counter) for name in names]) == [Status.OK] * 8
        for name in names:
            assert host.call("count", plugin=name).reply.text == "1"
        unload_all(host, names)


def test_loads_and_unloads_race(start_host: StartHost, counter: Path) -> None:
    host = start_host()
    for _ in range(10):
        names = [f"p{i}" for i in range(6)]
        assert load_all(host, [(name, counter) for name in names]) == [Status.OK] * 6
        jobs = [host.command("unload", [("async", 1), ("plugin", name)])["job"] for name in names[:3]]
        more = [f"q{i}" for i in range(3)]
        assert load_all(host, [(name, counter) for name in more]) == [Status.OK] * 3
        for job in jobs:
            host.join(job)
        for name in names[3:] + more:
            assert host.call("count", plugin=name).reply.text == "1"
        unload_all(host, names[3:] + more)


def test_a_stale_plugin_ctx_is_told_from_the_one_in_its_place(start_host: StartHost, counter: Path) -> None:
    """One image stays, and its places are used again after 256 loads: the old pointer is Invalid all the same."""
    host = start_host()
    assert host.load(counter, plugin="keep") == Status.OK
    assert host.load(counter, plugin="a") == Status.OK
    stale = host.info(plugin="a")["plugin_ctx"]
    host.unload(plugin="a")
    for _ in range(SLOTS - 2):
        host.load(counter, plugin="a")
        host.unload(plugin="a")
    assert host.load(counter, plugin="b") == Status.OK
    own = host.info(plugin="b")["plugin_ctx"]
    assert own != stale
    assert own & 0xFFFF_FFFF_FFFF == stale & 0xFFFF_FFFF_FFFF
    assert host.call("count", plugin="b", ctx=str(stale)).handle == Status.INVALID
    assert host.call("count", plugin="b").reply.text == "1"


def test_an_ended_plugin_ctx_leads_to_nobody(start_host: StartHost, counter: Path) -> None:
    """Its place rests, but its instance's memory is a later one's after some loads."""
    host = start_host()
    assert host.load(counter, plugin="ended") == Status.OK
    host.shutdown(plugin="ended")
    for _ in range(2 * RESTING):
        assert host.load(counter, plugin="next") == Status.OK
        assert host.call("count", plugin="ended").handle == Status.INVALID
        assert host.call("count", plugin="next").reply.text == "1"
        host.unload(plugin="next")


def test_a_place_is_not_taken_while_its_instance_shuts_down(
    start_host: StartHost, build: BuildPlugin, tmp_path: Path
) -> None:
    """The other 255 places were taken and given up meanwhile, so it would be this one's turn."""
    source = """
        import os
        from nylon_ring_py import Plugin

        plugin = Plugin("slow", shutdown_timeout_s=60)
        plugin.handle_sync("hold")(lambda req: os.environ.update(FIFO=req.path))
        plugin.handle_sync("ping")(lambda req: b"pong")

        @plugin.on_shutdown
        def wait():
            fifo = os.environ.pop("FIFO", None)
            if fifo:
                open(fifo).read()
    """
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    host = start_host()
    slow = build(source, "slow")
    assert host.load(slow, plugin="slow") == Status.OK
    assert host.call("hold", plugin="slow", path=str(fifo)).reply.status == Status.OK
    own = host.info(plugin="slow")["plugin_ctx"]
    job = host.start_shutdown(plugin="slow")
    with fifo.open("w"):  # both ends are there: the hook runs, and does until this one is closed
        for _ in range(SLOTS - 1):
            host.load(slow, plugin="passing", get_only=True)
            host.shutdown(plugin="passing")
            host.unload(plugin="passing")
        assert host.load(slow, plugin="next") == Status.OK
        assert host.info(plugin="next")["plugin_ctx"] & 0xFFFF_FFFF_FFFF != own & 0xFFFF_FFFF_FFFF
        assert host.call("ping", plugin="next").reply.data == b"pong"
    host.join(job)
    assert host.call("ping", plugin="next").reply.data == b"pong"


@pytest.mark.parametrize("module", ["sqlite3", "ssl", "_decimal", "ctypes", "numpy", "orjson"])
def test_extension_modules_find_libpython(start_host: StartHost, build: BuildPlugin, module: str) -> None:
    """The host opens plugins RTLD_LOCAL, and extension modules carry no reference to libpython."""
    if module in ("numpy", "orjson"):
        pytest.importorskip(module)
    works = {
        "sqlite3": "str(sqlite3.connect(':memory:').execute('select 40 + 2').fetchone()[0])",
        "ssl": "str(len(ssl.create_default_context().get_ciphers()) > 0)",
        "_decimal": "str(_decimal.Decimal('0.1') + _decimal.Decimal('0.2'))",
        "ctypes": "str(ctypes.CDLL(None).abs(-42))",
        "numpy": "str(int(numpy.arange(10).sum()))",
        "orjson": "orjson.dumps({'a': [1, None]})",
    }[module]
    answers = {"sqlite3": "42", "ssl": "True", "_decimal": "0.3", "ctypes": "42", "numpy": "45"}
    source = f"""
        from nylon_ring_py import Plugin
        import {module}

        plugin = Plugin("extensions")

        @plugin.handle("work")
        def work(req):
            return {works}
    """
    host = start_host(env={"OPENBLAS_NUM_THREADS": "1"})  # numpy keeps a thread for each further core, for good
    file = build(source)
    for _ in range(3):
        assert host.load(file) == Status.OK
        assert host.call("work").reply.text == answers.get(module, '{"a":[1,null]}')
        host.unload()
