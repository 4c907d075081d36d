"""build_plugin: what it collects, how it fails, and what it writes. The SDK is a stand-in: no core is needed."""

from __future__ import annotations

import json
import marshal
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from build_fixtures import compile_reader, compile_stub, make_environment, run_reader

from nylon_ring_py.build.payload import Payload, read_payload

HELLO = """from nylon_ring_py import Plugin

plugin = Plugin("hello", version="1.2.3")

@plugin.handle("ping", thread="host")
def ping(req): return b"pong"

@plugin.handle("echo", kind="stream", raw=True)
def echo(req): yield req
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    return make_environment(folder, compile_stub(folder))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-I", "-m", "nylon_ring_py.cli", "build-plugin", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def build(python: Path, *arguments: str, out: str) -> Payload:
    done = run(python, *arguments)
    assert done.returncode == 0, done.stderr
    return read_payload(out)


def refused(python: Path, folder: Path, *arguments: str) -> str:
    """Builds what cannot be built; returns the error. No file may appear."""
    before = sorted(folder.rglob("*"))
    done = run(python, *arguments)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert "nylon-ring: error: " in done.stderr
    assert "_importer.py" not in done.stderr
    assert "child.py" not in done.stderr
    assert sorted(folder.rglob("*")) == before
    return done.stderr


def test_one_file(python: Path, here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(here, {"hello.py": HELLO})
    found = build(python, "hello.py", out="hello.so")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert sorted(found.files) == ["hello.py", "hello.pyc"]
    assert found.files["hello.py"] == HELLO.encode()
    boot = found.boot
    assert {k: boot[k] for k in ("name", "version", "abi", "module", "object", "python_version", "free_threaded")} == {
        "name": "hello", "version": "1.2.3", "abi": "v1", "module": "hello", "object": "plugin",
        "python_version": version, "free_threaded": "0",
    }  # fmt: skip
    assert boot["python"] == str(python)
    assert boot["prefix"] == str(python.parent.parent)
    assert boot["base_prefix"] == sys.base_prefix
    assert Path(boot["libpython"]).is_file()
    assert ".so" in boot["libpython"]
    assert Path(boot["core"]).is_file()
    assert Path(boot["core"]).name.startswith("_core.")
    assert found.manifest["entries"] == [
        {"name": "ping", "kind": "unary", "thread": "host", "raw": False},
        {"name": "echo", "kind": "stream", "thread": "worker", "raw": True},
    ]
    assert set(found.manifest["files"]) == set(found.files)
    assert stat.S_IMODE(Path("hello.so").stat().st_mode) == 0o755
    done = run_reader(compile_reader(tmp_path_factory.mktemp("reader")), here / "hello.so")
    assert (done.returncode, done.stderr) == (0, b"name=hello missing=no\n")


def test_pyc_has_relative_names_and_an_unchecked_hash(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO})
    pyc = build(python, "hello.py", out="hello.so").files["hello.pyc"]
    assert pyc[4:8] == b"\x01\x00\x00\x00"
    assert marshal.loads(pyc[16:]).co_filename == "hello.py"


def test_siblings_that_are_imported_come_along(python: Path, here: Path) -> None:
    write(here, {
        "hello.py": HELLO + "import helpers\ndef later():\n    from lazy import x\n",
        "helpers.py": "import shapes.round\n",
        "lazy.py": "x = 1",
        "shapes/__init__.py": "", "shapes/round.py": "", "shapes/table.csv": "1,2", "shapes/more/data.txt": "d",
        "shapes/__pycache__/round.cpython-311.pyc": b"old", "shapes/.git/config": "no", "shapes/fast.so": b"\x7fELF",
        "unrelated.py": "1/0", "nylon_ring_py.py": "1/0", "time.py": "1/0",
    })  # fmt: skip
    done = run(python, "hello.py")
    assert done.returncode == 0, done.stderr
    sources = {name for name in read_payload("hello.so").files if not name.endswith(".pyc")}
    assert sources == {"hello.py", "helpers.py", "lazy.py", "shapes/__init__.py", "shapes/round.py",
                       "shapes/table.csv", "shapes/more/data.txt"}  # fmt: skip
    assert "shapes/fast.so is left out: extension modules come from" in done.stderr


def test_package(python: Path, here: Path) -> None:
    write(here, {
        "router/__init__.py": "from router.app import plugin\nimport importlib.resources\n"
                              "page = importlib.resources.files(__package__).joinpath('page.html').read_text()\n"
                              "assert page == '<p>'\n",
        "router/app.py": HELLO, "router/page.html": "<p>", "router/unused/__init__.py": "", "outside.py": "",
    })  # fmt: skip
    found = build(python, "router/", out="router.so")
    assert found.boot["module"] == "router"
    assert "router/page.html" in found.files
    assert "router/unused/__init__.pyc" in found.files
    assert "outside.py" not in found.files


def test_object_and_options(python: Path, here: Path) -> None:
    two = "from nylon_ring_py import Plugin\na = Plugin('a')\nb = Plugin('b')\nalias = b\n"
    write(here, {"two.py": two, "pre.py": two + "plugin = a\n", "only.py": "import two\nmine = two.b\n"})
    found = build(python, "two.py:b", "-o", "sub.so", "--abi", "v1-raw", out="sub.so")
    assert (found.boot["name"], found.boot["object"], found.boot["abi"]) == ("b", "b", "v1-raw")
    assert build(python, "pre.py", out="pre.so").boot["name"] == "a"
    assert build(python, "only.py", out="only.so").boot["object"] == "mine"
    text = refused(python, here, "two.py")
    assert "two.py has several plugins (a, alias)" in text or "two.py has several plugins (a, b)" in text
    assert "two.py has no attribute 'c'" in refused(python, here, "two.py:c")
    assert "has a str, not a Plugin" in refused(python, here, "two.py:__name__")


def test_same_input_gives_the_same_bytes(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = HELLO + "KINDS = {'a', 'b', 'c'}\ndef f(x): return x in {'one', 'two', 'three', 'four', b'5', 6}\n"
    images = []
    for name in ("first", "second", "third"):
        write(tmp_path / name, {"hello.py": source + "import helpers", "helpers.py": "x = ('interned', 'interned')"})
        monkeypatch.chdir(tmp_path / name)
        assert run(python, "hello.py").returncode == 0
        images.append(Path("hello.so").read_bytes())
    assert images[0] == images[1] == images[2]


def test_a_build_replaces_the_file_and_keeps_the_old_one_open(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO})
    build(python, "hello.py", out="hello.so")
    with Path("hello.so").open("rb") as old:
        inode = os.fstat(old.fileno()).st_ino
        write(here, {"hello.py": HELLO.replace("1.2.3", "2.0.0")})
        assert build(python, "hello.py", out="hello.so").boot["version"] == "2.0.0"
        assert Path("hello.so").stat().st_ino != inode
    assert sorted(here.iterdir()) == [here / "hello.py", here / "hello.so"]


def test_failed_build_keeps_the_old_file(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO})
    build(python, "hello.py", out="hello.so")
    before = Path("hello.so").read_bytes()
    write(here, {"hello.py": "1/0"})
    refused(python, here, "hello.py")
    assert Path("hello.so").read_bytes() == before


FAILURES = {
    "syntax": ("x = 1\ndef (:\n", ["bad.py:2: SyntaxError", "def (:"]),
    "late syntax": ("x = 1\nreturn 5\n", ["bad.py:2: SyntaxError: 'return' outside function"]),
    "nul": ("x = 1\0", ["bad.py:1: "]),
    "missing module": ("import os\nimport no_such_thing\n", ["bad.py", "line 2", "no_such_thing", "installed there?"]),
    "raises": ("def f():\n    raise ValueError('boom')\nf()\n", ["bad.py", "line 2, in f", "ValueError: boom"]),
    "exits": ("raise SystemExit(0)", ["SystemExit"]),
    "hard exit": ("import os\nos._exit(0)", ["ended with exit code 0 while it imported bad"]),
    "killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", ["SIGSEGV"]),
    "no plugin": ("x = 1", ["bad.py has no nylon_ring_py.Plugin", "plugin = Plugin('bad')"]),
    "nul in name": ("from nylon_ring_py import Plugin\nplugin = Plugin('a\\0b')", ["NUL"]),
}


@pytest.mark.parametrize(("source", "texts"), FAILURES.values(), ids=FAILURES.keys())
def test_failures(source: str, texts: list[str], python: Path, here: Path) -> None:
    write(here, {"bad.py": source})
    error = refused(python, here, "bad.py")
    for text in texts:
        assert text in error


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("nothing.py", "nothing.py does not exist"),
        ("folder", "folder has no __init__.py"),
        ("notes.txt", "no Python source"),
        ("my-plug.py", "'my-plug' cannot be a module's name"),
        ("package/__init__.py", "give its folder"),
    ],
)
def test_wrong_sources(argument: str, text: str, python: Path, here: Path) -> None:
    write(here, {"folder/x.py": "", "notes.txt": "", "my-plug.py": HELLO, "package/__init__.py": HELLO})
    assert text in refused(python, here, argument)


def test_file_is_warned_about(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO + "\nwhere = __file__\n"})
    done = run(python, "hello.py")
    assert done.returncode == 0
    assert f"warning: {here}/hello.py:11: __file__ names no real file" in done.stderr


def test_own_modules_named_in_strings_are_warned_about(python: Path, here: Path) -> None:
    calls = ["import_module('router.app')", "resources.files('router')", "import_module('json')"]
    body = "".join(f"    importlib.{call}\n" for call in calls)
    write(here, {"router/__init__.py": HELLO + f"\nimport importlib\ndef later():\n{body}"})
    done = run(python, "router")
    assert done.returncode == 0, done.stderr
    assert f"warning: {here}/router/__init__.py:13: import_module('router.app') will not find" in done.stderr
    assert "__init__.py:14: files('router') will not find" in done.stderr
    assert "json" not in done.stderr


def test_output_of_the_plugin_goes_to_stderr(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO + "import os\nprint('printed')\nos.write(1, b'written')\n"})
    done = run(python, "hello.py")
    assert done.returncode == 0
    assert "printed" in done.stderr
    assert "written" in done.stderr
    assert "printed" not in done.stdout


def test_threads_of_the_plugin_do_not_hold_the_build_up(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO + "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"})
    assert run(python, "hello.py").returncode == 0


def test_target_python(python: Path, here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(here, {"hello.py": HELLO})
    other = make_environment(tmp_path_factory.mktemp("other"), compile_stub(tmp_path_factory.mktemp("stub")))
    assert build(python, "hello.py", "--python", str(other), out="hello.so").boot["python"] == str(other)
    Path("hello.so").unlink()
    assert "cannot run /no/such/python" in refused(python, here, "hello.py", "--python", "/no/such/python")
    error = refused(python, here, "hello.py", "--python", getattr(sys, "_base_executable", sys.executable))
    assert "has no nylon_ring_py" in error
    assert "-m pip install" in error


def _with_patched_probe(folder: Path, patch: str) -> Path:
    """An environment whose probe answers something else."""
    python = make_environment(folder, compile_stub(folder))
    package = folder / "site" / "nylon_ring_py"
    real = (package / "_probe.py").resolve().read_text()
    (package / "_probe.py").unlink()
    (package / "_probe.py").write_text(real.partition("if __name__")[0] + patch)
    return python


def test_missing_libpython(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    patch = """
_from_build_details = lambda: []
_variable = lambda name: "/no/lib" if name == "LIBDIR" else ""
sys.base_prefix = "/no"
"""
    python = _with_patched_probe(tmp_path_factory.mktemp("static"), patch)
    write(here, {"hello.py": HELLO})
    error = refused(python, here, "hello.py")
    assert "no shared libpython" in error
    assert "/no/lib/libpython3" in error
    assert "apt install libpython3" in error
    assert "--enable-shared" in error


def test_missing_core(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("coreless")
    python = make_environment(folder, compile_stub(folder))
    for core in (folder / "site" / "nylon_ring_py").glob("_core.*"):
        core.unlink()
    write(here, {"hello.py": HELLO})
    assert "no compiled core for this Python (Python 3." in refused(python, here, "hello.py")


def test_core_that_the_target_cannot_import(python: Path, here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("broken")
    broken = make_environment(folder, compile_stub(folder))
    (folder / "site" / "nylon_ring_py" / "plugin.py").write_text("from nylon_ring_py._core import Request\n")
    for core in (folder / "site" / "nylon_ring_py").glob("_core.*"):
        core.unlink()
    write(here, {"hello.py": HELLO})
    assert "no compiled core for this Python (ModuleNotFoundError" in refused(
        python, here, "hello.py", "--python", str(broken)
    )


def test_missing_stub(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("stubless")
    python = make_environment(folder, compile_stub(folder))
    (folder / "site" / "nylon_ring_py" / "_shim" / "linux-x86_64" / "plugin_shim.so").unlink()
    write(here, {"hello.py": HELLO})
    assert "no prebuilt stub for linux-x86_64" in refused(python, here, "hello.py")


def test_output_folder_that_is_missing(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO})
    assert "nowhere" in refused(python, here, "hello.py", "-o", "nowhere/hello.so")


def test_output_that_is_a_folder(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO, "hello.so/x": ""})
    assert "hello.so" in refused(python, here, "hello.py")


def test_probe_prints_what_it_describes(python: Path) -> None:
    done = subprocess.run([str(python), "-I", "-m", "nylon_ring_py._probe"], capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(found) == {"python", "python_version", "free_threaded", "libpython", "core", "prefix", "base_prefix"}
    assert found["python"] == str(python)


def test_manifest_is_json_for_tools(python: Path, here: Path) -> None:
    write(here, {"hello.py": HELLO})
    manifest = build(python, "hello.py", out="hello.so").manifest
    assert json.loads(json.dumps(manifest)) == manifest
    assert set(manifest) == {
        "format", "plugin", "object", "module", "abi", "python", "entries", "files", "nylon_ring_py"
    }  # fmt: skip
