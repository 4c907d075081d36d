"""An end that looks at a library's module while another thread is in the middle of importing it."""

from __future__ import annotations

import subprocess
import sys

import pytest

BESIDE = """
import sys, threading
from importlib.machinery import PathFinder
from nylon_ring_py._importer import PluginImporter
from nylon_ring_py.build.payload import pack_archive
from nylon_ring_py._session import _flush_logging

begun, go_on = threading.Event(), threading.Event()

class SlowLoader:
    def __init__(self, loader):
        self.loader = loader
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        begun.set()
        go_on.wait()
        self.loader.exec_module(module)

class SlowFinder:
    def find_spec(self, name, path=None, target=None):
        if name != {module!r} or begun.is_set():
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = SlowLoader(spec.loader)
        return spec

importer = PluginImporter(archive=pack_archive({{"main.py": b""}}), name="p", module="main", origin="/p.so")
importer.load()
sys.modules.pop({module!r}, None)
sys.meta_path.insert(0, SlowFinder())
first = threading.Thread(target=lambda: __import__({module!r}))
first.start()
begun.wait()

failures = []
def end():
    try:
        {step}
    except BaseException as error:
        failures.append(error)

second = threading.Thread(target=end)
second.start()
second.join(0.2)  # where it does not wait, it has failed by then
go_on.set()
first.join()
second.join()
print(failures)
"""


@pytest.mark.parametrize(("module", "step"), [("linecache", "importer.unload()"), ("logging", "_flush_logging(None)")])
def test_an_end_waits_for_the_import(module: str, step: str) -> None:
    program = BESIDE.format(module=module, step=step)
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
