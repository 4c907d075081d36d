"""The in-memory importer: private names, lazy and threaded imports, data files, and nothing left after unload."""

from __future__ import annotations

import gc
import importlib.resources
import importlib.util
import linecache
import marshal
import os
import pickle
import pkgutil
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nylon_ring_py import _importer
from nylon_ring_py._importer import PluginImporter
from nylon_ring_py.build.payload import pack_archive

ORIGIN = "/somewhere/plug.so"


def make(files: dict[str, str | bytes], module: str = "main", name: str = "plug") -> PluginImporter:
    content = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    return PluginImporter(archive=pack_archive(content), name=name, module=module, origin=ORIGIN)


def snapshot() -> tuple[Any, ...]:
    return (
        {name for name in sys.modules if name.startswith("nylon_ring_plugin_")},
        list(sys.meta_path),
        list(sys.path_hooks),
        {path for path in sys.path_importer_cache if "nylon_ring_plugin_" in path},
        {path for path in linecache.cache if path.startswith(ORIGIN)},
    )


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    loaded: weakref.WeakSet[PluginImporter] = weakref.WeakSet()
    original = PluginImporter.load
    _importer._finder.install()  # by the first load, and for good
    before = snapshot()

    def load(self: PluginImporter) -> ModuleType:
        loaded.add(self)
        return original(self)

    PluginImporter.load = load  # type: ignore[method-assign]
    try:
        yield
    finally:
        PluginImporter.load = original  # type: ignore[method-assign]
        for importer in list(loaded):
            importer.unload()
    assert snapshot() == before


IMPORT_FORMS = {
    "import": "import helpers\nvalue = helpers.WHO",
    "import as": "import helpers as h\nvalue = h.WHO",
    "from import": "from helpers import WHO as value",
    "dotted": "import pkg.deep.leaf\nvalue = pkg.deep.leaf.WHO",
    "dotted as": "import pkg.deep.leaf as leaf\nvalue = leaf.WHO",
    "from dotted": "from pkg.deep.leaf import WHO as value",
    "from package, module": "from pkg.deep import leaf\nvalue = leaf.WHO",
    "star": "from helpers import *\nvalue = WHO",
    "relative": "from . import helpers\nvalue = helpers.WHO",
    "relative dotted": "from .pkg.deep.leaf import WHO as value",
    "lazy": "def ask():\n    import helpers\n    return helpers.WHO\nvalue = ask()",
    "in a class": "class C:\n    from helpers import WHO\nvalue = C.WHO",
    "exec": "space = {}\nexec('import helpers; value = helpers.WHO', space)\nvalue = space['value']",
    "__import__": "value = __import__('helpers').WHO",
    "inside the package": "from pkg import through\nvalue = through.value",
}


@pytest.mark.parametrize("source", IMPORT_FORMS.values(), ids=IMPORT_FORMS.keys())
def test_every_form_of_import_finds_the_own_module(source: str) -> None:
    files: dict[str, str | bytes] = {
        "main.py": source,
        "helpers.py": "WHO = 'own'",
        "pkg/__init__.py": "",
        "pkg/through.py": "import helpers\nvalue = helpers.WHO",
        "pkg/deep/__init__.py": "",
        "pkg/deep/leaf.py": "WHO = 'own'",
    }
    assert make(files).load().value == "own"
    assert "helpers" not in sys.modules
    assert "pkg" not in sys.modules


def test_own_modules_win_over_installed_ones_for_the_plugin_only() -> None:
    import json as real

    module = make({"main.py": "import json, os\nwho = json.WHO", "json.py": "WHO = 'own'"}).load()
    assert module.who == "own"
    assert module.os is os
    assert sys.modules["json"] is real


def test_two_plugins_have_their_own_helpers_lazy_ones_too() -> None:
    source = "def ask():\n    import helpers\n    return helpers.WHO"
    first = make({"main.py": source, "helpers.py": "WHO = 1"}, name="one").load()
    second = make({"main.py": source, "helpers.py": "WHO = 2"}, name="two").load()
    assert (first.ask(), second.ask()) == (1, 2)


def test_instances_of_one_plugin_are_apart() -> None:
    files: dict[str, str | bytes] = {"main.py": "import state\nstate.seen.append(1)", "state.py": "seen = []"}
    first, second, third = make(files), make(files), make(files)
    modules = [first.load(), second.load(), third.load()]
    assert [m.state.seen for m in modules] == [[1], [1], [1]]
    assert [i.package for i in (first, second, third)] == [
        "nylon_ring_plugin_plug", "nylon_ring_plugin_plug__2", "nylon_ring_plugin_plug__3"
    ]  # fmt: skip
    second.unload()
    again = make(files)
    again.load()
    assert again.package == "nylon_ring_plugin_plug__2"


def test_strange_plugin_names() -> None:
    importer = make({"main.py": ""}, name="my plug/ü.v1")
    importer.load()
    assert importer.package == "nylon_ring_plugin_my_plug___v1"


def test_racing_instances_claim_different_names() -> None:
    files: dict[str, str | bytes] = {"main.py": "import helpers\nname = helpers.__name__", "helpers.py": ""}
    importers = [make(files) for _ in range(16)]
    barrier = threading.Barrier(len(importers))
    names: list[str] = []

    def load(importer: PluginImporter) -> None:
        barrier.wait()
        names.append(importer.load().name)

    threads = [threading.Thread(target=load, args=(importer,)) for importer in importers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == len(importers)


def test_threads_import_one_module_at_once() -> None:
    module = make({
        "main.py": "def ask():\n    import slow\n    return slow",
        "slow.py": "import threading\nstarted = threading.active_count()\nfor _ in range(20000): pass\ndone = True",
    }).load()  # fmt: skip
    barrier = threading.Barrier(8)
    found: list[ModuleType] = []

    def ask() -> None:
        barrier.wait()
        slow = module.ask()
        assert slow.done
        found.append(slow)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"main.py": "import helpers\nraise ValueError('no')", "helpers.py": ""}, ValueError),
        ({"main.py": "import helpers", "helpers.py": "raise SystemExit(3)"}, SystemExit),
        ({"main.py": "import helpers", "helpers.py": "def ("}, SyntaxError),
        ({"other.py": ""}, ModuleNotFoundError),
        ({"main.py": "from pkg import missing", "pkg/__init__.py": ""}, ImportError),
        ({"main.py": "import pkg.missing", "pkg/__init__.py": ""}, ModuleNotFoundError),
    ],
)
def test_failed_load_leaves_nothing(files: dict[str, str | bytes], error: type[BaseException]) -> None:
    before = snapshot()
    with pytest.raises(error):
        make(files).load()
    assert snapshot() == before


def test_an_importer_loads_once() -> None:
    importer = make({"main.py": ""})
    importer.load()
    with pytest.raises(ImportError, match="loaded before"):
        importer.load()
    importer.unload()
    importer.unload()
    with pytest.raises(ImportError, match="loaded before"):
        importer.load()


def test_import_after_unload_does_not_reach_another_instance() -> None:
    files: dict[str, str | bytes] = {"main.py": "def ask():\n    import helpers\n    return helpers", "helpers.py": ""}
    old, new = make(files), make(files)
    ask = old.load().ask
    old.unload()
    new.load()
    assert new.package == "nylon_ring_plugin_plug"
    with pytest.raises(ImportError, match="was unloaded"):
        ask()


def test_a_name_is_free_once_nothing_is_left_under_it() -> None:
    """Another instance is loaded in the middle of an unload, as threads may: here what the unload lets go does it."""
    files: dict[str, str | bytes] = {"main.py": "import helper", "helper.py": ""}
    old, new = make(files), make(files)

    class Last:
        def __del__(self) -> None:
            loaded.append(new.load())

    loaded: list[ModuleType] = []
    old_main = old.load()
    sys.modules[old.package].last = Last()  # type: ignore[attr-defined]
    old.unload()
    assert new.package == old.package
    assert loaded[0] is not old_main
    assert loaded[0].helper is not old_main.helper
    assert sys.modules[new.package + ".main"] is loaded[0]
    assert sys.modules[new.package + ".helper"] is loaded[0].helper


def test_traceback_shows_source_under_the_plugin_files_name() -> None:
    importer = make({"main.py": "import pkg.part\ndef f():\n    pkg.part.g()", "pkg/__init__.py": "",
                     "pkg/part.py": "def g():\n    raise KeyError('here')  # the line"})  # fmt: skip
    module = importer.load()
    with pytest.raises(KeyError) as caught:
        module.f()
    text = "".join(traceback.format_exception(caught.value))
    assert f'File "{ORIGIN}/pkg/part.py", line 2, in g' in text
    assert "raise KeyError('here')  # the line" in text
    assert module.__file__ == f"{ORIGIN}/main.py"


def test_pyc_is_used_when_it_fits_and_source_otherwise() -> None:
    code = marshal.dumps(compile("def f(): return 'pyc'\nvalue = f()", "main.py", "exec"))
    pyc = importlib.util.MAGIC_NUMBER + bytes(12) + code
    module = make({"main.py": "value = 'source'", "main.pyc": pyc}).load()
    assert module.value == "pyc"
    assert module.f.__code__.co_filename == f"{ORIGIN}/main.py"
    assert make({"main.py": "value = 'source'", "main.pyc": b"XXXX" + pyc[4:]}, name="b").load().value == "source"


def test_loader_answers_what_debuggers_ask() -> None:
    importer = make({"main.py": "# -*- coding: latin-1 -*-\nx = '\xe4'".encode("latin-1"), "pkg/__init__.py": ""})
    name = importer.load().__name__
    assert importer.get_source(name) == "# -*- coding: latin-1 -*-\nx = 'ä'"
    assert importer.get_filename(name) == f"{ORIGIN}/main.py"
    assert not importer.is_package(name)
    assert importer.is_package(f"{importer.package}.pkg")
    code = importer.get_code(name)
    assert code is not None
    assert code.co_filename == f"{ORIGIN}/main.py"
    with pytest.raises(ImportError, match="no module"):
        importer.get_source(f"{importer.package}.nothing")


DATA_FILES: dict[str, str | bytes] = {
    "router/__init__.py": "package = __package__",
    "router/page.html": "<p>ü</p>",
    "router/data/rows.bin": b"\x00\xff",
    "router/data/more/deep.txt": "deep",
}


def test_importlib_resources() -> None:
    module = make(DATA_FILES, module="router").load()
    root = importlib.resources.files(module.package)
    assert (root / "page.html").read_text(encoding="utf-8") == "<p>ü</p>"
    assert root.joinpath("data", "rows.bin").read_bytes() == b"\x00\xff"
    assert (root / "data/more/deep.txt").read_text() == "deep"
    assert sorted(p.name for p in (root / "data").iterdir()) == ["more", "rows.bin"]
    assert (root / "data").is_dir()
    assert not (root / "data").is_file()
    assert (root / "page.html").is_file()
    assert not (root / "page.html").is_dir()
    assert not (root / "nothing").is_file()
    with (root / "page.html").open("rb") as file:
        assert file.read() == "<p>ü</p>".encode()
    with pytest.raises(FileNotFoundError):
        (root / "nothing").read_bytes()
    with pytest.raises(ValueError, match="opened with"):
        (root / "page.html").open("w")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="leave"):
        root / "../main.py"
    with importlib.resources.as_file(root / "page.html") as real:
        assert real.read_text(encoding="utf-8") == "<p>ü</p>"
    assert importlib.resources.files(f"{module.package}.data").joinpath("more/deep.txt").read_text() == "deep"


def test_pkgutil() -> None:
    module = make({**DATA_FILES, "router/views/__init__.py": "", "router/urls.py": ""}, module="router").load()
    assert pkgutil.get_data(module.__name__, "data/rows.bin") == b"\x00\xff"
    with pytest.raises(OSError, match="no such file"):
        pkgutil.get_data(module.__name__, "nothing")
    found = [(name, is_package) for _, name, is_package in pkgutil.iter_modules(module.__path__)]
    assert found == [("urls", False), ("views", True)]


def test_atexit_belongs_to_the_plugin() -> None:
    importer = make({
        "main.py": """
import atexit
from atexit import register
calls = []
def fail(): raise ValueError("no")
def leave(): raise SystemExit(1)
atexit.register(calls.append, 1)
atexit.register(fail)
@register
def second(): calls.append(2)
atexit.register(leave)
def never(): calls.append("never")
atexit.register(never); atexit.register(never); atexit.unregister(never)
def lazily():
    import atexit
    atexit.register(calls.append, 3)
lazily()
"""})  # fmt: skip
    module = importer.load()
    failures = importer.run_exit_callbacks()
    assert module.calls == [3, 2, 1]
    assert [type(f) for f in failures] == [SystemExit, ValueError]
    assert importer.run_exit_callbacks() == []


def test_exit_callbacks_of_a_plugin_without_any() -> None:
    importer = make({"main.py": ""})
    importer.load()
    assert importer.run_exit_callbacks() == []


def test_pickle_by_name() -> None:
    files: dict[str, str | bytes] = {"main.py": "class Order:\n    def __init__(self): self.n = 7"}
    importer = make(files)
    data = pickle.dumps(importer.load().Order())
    importer.unload()
    make(files).load()
    assert pickle.loads(data).n == 7


def test_damaged_archive() -> None:
    with pytest.raises(ImportError, match="build the plugin again"):
        PluginImporter(archive=b"\x04\x00\x00\x00a\0b\0", name="p", module="m", origin="o")
    with pytest.raises(ImportError, match="build the plugin again"):
        PluginImporter(archive=pack_archive({"m.py": b"x = 1"})[:-1], name="p", module="m", origin="o")


def test_three_hundred_rounds_leave_nothing() -> None:
    files: dict[str, str | bytes] = {
        **DATA_FILES,
        "main.py": "import router, atexit, pkgutil, importlib.resources\n"
        "text = importlib.resources.files(router.package).joinpath('page.html').read_bytes()\n"
        "names = list(pkgutil.iter_modules(router.__path__))\n"
        "def fail(): raise ValueError\n",
    }

    def round_trip() -> None:
        importer = make(files)
        fail = importer.load().fail
        with pytest.raises(ValueError) as caught:
            fail()
        assert "raise ValueError" in "".join(traceback.format_exception(caught.value))
        importer.unload()

    def counts() -> tuple[int, ...]:
        gc.collect()
        modules = sum(isinstance(thing, ModuleType) for thing in gc.get_objects())
        return (len(sys.modules), len(sys.path_importer_cache), len(sys.meta_path), len(sys.path_hooks),
                len(linecache.cache), modules)  # fmt: skip

    round_trip()
    before = counts()
    for _ in range(300):
        round_trip()
    assert counts() == before


def test_an_unload_hides_no_finder_from_an_import_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread is in the middle of `sys.meta_path` when a plugin is unloaded: here the finder before does it."""
    importer = make({"main.py": "x = 1"})
    importer.load()
    asked = []

    class Unloads:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            importer.unload()

    class Last:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            asked.append(name)

    changed: list[Any] = [sys.meta_path[0], Unloads(), Last(), *sys.meta_path[1:]]
    monkeypatch.setattr(sys, "meta_path", changed)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")
    assert asked == ["no_such_module_anywhere"]


def test_only_light_modules_are_imported() -> None:
    """Measured from outside, as a plugin's start sees it: nothing beyond what `-I` has loaded, and `types`."""
    script = """
import __future__, sys, types
before = set(sys.modules)
package = sys.modules["nylon_ring_py"] = types.ModuleType("nylon_ring_py")
package.__path__ = [sys.argv[1]]
from nylon_ring_py._importer import PluginImporter
index = b"main.py\\x000\\x005\\x00"
archive = len(index).to_bytes(4, "little") + index + b"x = 1"
assert PluginImporter(archive, "p", "main", "/p.so").load().x == 1
print(sorted(name for name in set(sys.modules) - before if "nylon" not in name))
"""
    package = str(Path(sys.modules[PluginImporter.__module__].__file__ or "").parent)
    done = subprocess.run([sys.executable, "-I", "-c", script, package], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
