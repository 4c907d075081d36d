"""Python's main thread is the runtime's, whoever imports `threading` first, and whatever happens meanwhile."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

# It imports nothing, so that the code under test is the first to import what it does.
SOURCE = """
    from nylon_ring_py import Plugin

    plugin = Plugin("bare", workers=2)

    def run(req):
        '''Runs the body as code, and answers what it leaves in `answer`.'''
        scope = {}
        exec(req.body.decode(), scope)
        return repr(scope.get("answer"))

    plugin.handle("run")(run)
    plugin.handle_sync("run_sync")(run)
    plugin.handle("echo")(lambda req: req.body)
"""

MAIN = """
import _thread
from nylon_ring_py._core import call_on_main_thread

main = call_on_main_thread(_thread.get_ident)
"""


@pytest.fixture(scope="module")
def bare(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "bare")


@pytest.fixture
def host(bare: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(bare) == Status.OK
    return host


def ask(host: NrHost, code: str, entry: str = "run", on: str = "main") -> Any:
    """What the code leaves in `answer`, run by an entry of the plugin; it knows the main thread as `main`."""
    reply = host.call(entry, body=(MAIN + textwrap.dedent(code)).encode(), on=on).reply
    assert reply.status == Status.OK, reply.text
    return ast.literal_eval(reply.text)


@pytest.mark.parametrize("entry", ["run", "run_sync"])
def test_a_thread_that_ends_imports_threading_first(host: NrHost, entry: str) -> None:
    code = """
        import threading

        answer = [threading.main_thread().ident == main, threading.main_thread().is_alive()]
        answer += [threading.current_thread() is not threading.main_thread(), threading.__loader__.name]
        answer += [sorted(each.ident == main for each in threading.enumerate())]
    """
    assert ask(host, code, entry, on="thread") == [True, True, True, "threading", [False, True]]
    assert ask(host, "import threading; answer = threading.main_thread().is_alive()") is True


def test_a_child_of_fork_imports_threading_first(host: NrHost) -> None:
    """The runtime's thread is not in the child: nobody may wait for it."""
    code = """
        import os

        to_here, from_child = os.pipe()
        child = os.fork()
        if child == 0:
            import threading

            os.write(from_child, b"%d" % (threading.main_thread() is threading.current_thread()))
            os._exit(0)
        answer = os.read(to_here, 1).decode()
        os.waitpid(child, 0)
        os.close(to_here)
        os.close(from_child)
    """
    assert ask(host, code) == "1"


def test_the_main_thread_is_busy_when_threading_is_imported(host: NrHost) -> None:
    """It may be waiting for the very import: so that does not wait for it, and it is told later."""
    code = """
        imported, left = _thread.allocate_lock(), _thread.allocate_lock()
        imported.acquire()
        left.acquire()
        importer = []

        def import_it():
            import threading
            importer.append(threading.get_ident())
            imported.release()

        def be_busy():
            _thread.start_new_thread(import_it, ())
            imported.acquire()
            left.release()

        call_on_main_thread(be_busy)
        left.acquire()
        assert call_on_main_thread(lambda: "after what was asked before") is not None
        import threading

        answer = [threading.main_thread().ident == main, importer != [main]]
    """
    assert ask(host, code) == [True, True]


@pytest.mark.parametrize("module", ["threading", "functools"])
@pytest.mark.parametrize("offset", range(0, 700, 140))
def test_a_finalizer_imports_threading_while_it_is_imported(host: NrHost, module: str, offset: int) -> None:
    """On whatever thread the collector runs it, in the middle of threading or of what threading needs."""
    code = f"""
        import gc

        class Resource:
            def __init__(self):
                self.me = self

            def __del__(self):
                import logging

        gc.collect()
        Resource()
        young = [[] for _ in range({offset})]
        import {module}
        answer = 1
    """
    assert ask(host, code) == 1
    assert host.call("echo", body=b"other workers work").reply.data == b"other workers work"


def test_a_finder_imports_threading_while_what_it_needs_is_imported(host: NrHost) -> None:
    code = """
        import sys

        class Finder:
            def find_spec(self, name, path, target):
                if name in ("functools", "_weakrefset"):
                    import threading

        sys.meta_path.insert(0, Finder())
        import functools
        import threading
        answer = 1
    """
    assert ask(host, code) == 1


def test_finders_are_asked_as_imports_ask_them(host: NrHost) -> None:
    """With all three arguments; and who cannot be asked is not."""
    code = """
        import sys

        class Finder:
            def find_spec(self, name, path, target):
                asked.append(name)

        class OfOldPython:
            def find_module(self, name, path=None):
                return None

        asked = []
        sys.meta_path.insert(1, Finder())
        sys.meta_path.insert(1, OfOldPython())
        import subprocess
        import threading
        answer = ["threading" in asked, "subprocess" in asked]
    """
    assert ask(host, code) == [True, True]


@pytest.mark.parametrize("name", ["threading", "subprocess"])
def test_who_looks_for_a_module_finds_it_as_ever(host: NrHost, name: str) -> None:
    code = f"""
        import copy, sys
        from importlib.machinery import PathFinder

        spec = sys.meta_path[0].find_spec({name!r}) or PathFinder.find_spec({name!r})
        copy.copy(spec.loader)
        answer = [{name!r} in sys.modules, spec.loader.get_filename({name!r}) == spec.origin]
        answer += [spec.loader.is_package({name!r}), spec.loader.get_code({name!r}) is not None]
    """
    assert ask(host, code) == [False, True, False, True]


@pytest.mark.parametrize("how", ["importlib.reload(threading)", "sys.modules.pop('threading')"])
def test_threading_is_imported_once_more(host: NrHost, how: str) -> None:
    code = f"""
        import importlib, sys, threading

        {how}
        import threading
        answer = threading.main_thread().ident == main
    """
    assert ask(host, code) is True


def test_what_fails_on_the_main_thread_is_raised_here(host: NrHost) -> None:
    code = """
        def fail():
            raise LookupError(_thread.get_ident())

        try:
            call_on_main_thread(fail)
        except LookupError as failure:
            answer = [failure.args[0] == main, failure.__traceback__.tb_next.tb_frame.f_code.co_name]
    """
    assert ask(host, code) == [True, "fail"]
