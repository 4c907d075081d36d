"""A plugin's source, data and classes inside its .so: tracebacks, debuggers, resources and pickle find them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from conftest import StartHost, build_plugin
from nrhost import NrHost, Status

MAIN = """
    import inspect
    import io
    import linecache
    import pdb
    import pickle
    import pkgutil
    import sys
    import traceback
    from importlib import resources

    from nylon_ring_py import Plugin
    from shop import models
    from shop.deep import work

    plugin = Plugin("shop")

    @plugin.handle("fail")
    def fail(req):
        return work.divide(1, 0)  # the cause of it all

    @plugin.handle_sync("fail_sync")
    def fail_sync(req):
        return work.divide(1, 0)

    @plugin.handle("format")
    def format_it(req):
        try:
            work.divide(1, 0)
        except ZeroDivisionError:
            return traceback.format_exc()

    @plugin.handle("source")
    def source(req):
        return inspect.getsource(work.divide)

    @plugin.handle("line")
    def line(req):
        linecache.checkcache()
        return linecache.getline(work.__file__, 2, vars(work))

    @plugin.handle("debugger")
    def debugger(req):
        commands = io.StringIO("step\\nstep\\nlist\\nwhere\\ncontinue\\n")
        shown = io.StringIO()
        pdb.Pdb(stdin=commands, stdout=shown, nosigint=True, readrc=False).runcall(work.multiply, 6, 7)
        return shown.getvalue()

    @plugin.handle("data")
    def data(req):
        folder = resources.files(__package__)
        names = sorted(entry.name for entry in folder.joinpath("data").iterdir())
        with resources.as_file(folder / "data" / "prices.csv") as path:
            on_disk = path.read_text()
        return "|".join([folder.joinpath("data/prices.csv").read_text(), on_disk, *names])

    @plugin.handle("data_of_module")
    def data_of_module(req):
        import shop
        return resources.files(shop).joinpath("data", "prices.csv").read_bytes()

    @plugin.handle("get_data")
    def get_data(req):
        return pkgutil.get_data(__name__, "data/prices.csv")

    @plugin.handle("modules")
    def modules(req):
        return " ".join(sorted(info.name for info in pkgutil.iter_modules(__path__)))

    @plugin.handle("pickle")
    def pickled(req):
        order = pickle.loads(pickle.dumps(models.Order(7, models.State.OPEN)))
        assert type(order) is models.Order
        assert order.state is models.State.OPEN
        return str(order.number)

    @plugin.handle_raw("dump")
    def dump(payload):
        return pickle.dumps(models.Order(int(payload), models.State.OPEN))

    @plugin.handle_raw("restore")
    def restore(payload):
        order = pickle.loads(payload)
        assert type(order) is models.Order
        return str(order.number)
"""

WORK = """
    def divide(a, b):
        return a / b  # divided here


    def multiply(a, b):
        product = a * b  # multiplied here
        return product
"""

MODELS = """
    import enum
    from dataclasses import dataclass


    class State(enum.Enum):
        OPEN = "open"


    @dataclass
    class Order:
        number: int
        state: State
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    package = folder / "shop"
    (package / "deep").mkdir(parents=True)
    (package / "data").mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(MAIN))
    (package / "models.py").write_text(textwrap.dedent(MODELS))
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "work.py").write_text(textwrap.dedent(WORK).lstrip())
    (package / "data" / "prices.csv").write_text("tea;3")
    (package / "data" / "stock.csv").write_text("tea;9")
    plugin = build_plugin(package, folder / "shop.so")
    # Nothing may be read from where it was built.
    for file in sorted(package.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    package.rmdir()
    return plugin


@pytest.fixture
def host(start_host: StartHost, shop: Path) -> NrHost:
    running = start_host()
    assert running.load(shop) == Status.OK
    return running


@pytest.mark.parametrize("entry", ["fail", "fail_sync"])
def test_the_log_shows_source_lines(host: NrHost, shop: Path, entry: str) -> None:
    reply = host.call(entry).reply
    assert reply.status == Status.ERR
    assert reply.text == "ZeroDivisionError: division by zero"
    text = host.stderr_tail()
    assert f'File "{shop}/shop/__init__.py", line ' in text
    assert "return work.divide(1, 0)" in text
    assert f'File "{shop}/shop/deep/work.py", line 2, in divide' in text
    assert "return a / b  # divided here" in text


def test_the_host_is_not_told_the_traceback(host: NrHost) -> None:
    assert "divided here" not in host.call("fail").reply.text


def test_format_exc_shows_source_lines(host: NrHost, shop: Path) -> None:
    text = host.call("format").reply.text
    assert f'File "{shop}/shop/deep/work.py", line 2, in divide' in text
    assert "return a / b  # divided here" in text


def test_inspect_and_linecache_find_source(host: NrHost) -> None:
    assert host.call("source").reply.text == "def divide(a, b):\n    return a / b  # divided here\n"
    assert host.call("line").reply.text == "    return a / b  # divided here\n"


def test_the_debugger_shows_source(host: NrHost, shop: Path) -> None:
    text = host.call("debugger").reply.text
    assert f"> {shop}/shop/deep/work.py(" in text
    assert "product = a * b  # multiplied here" in text
    assert "return a / b  # divided here" in text  # by `list`


def test_resources_inside_a_package(host: NrHost) -> None:
    assert host.call("data").reply.text == "tea;3|tea;3|prices.csv|stock.csv"
    assert host.call("data_of_module").reply.text == "tea;3"
    assert host.call("get_data").reply.text == "tea;3"
    assert host.call("modules").reply.text == "deep models"


def test_pickle_inside_the_plugin(host: NrHost, shop: Path) -> None:
    assert host.call("pickle").reply.text == "7"


def test_a_pickle_outlives_a_reload(host: NrHost, shop: Path) -> None:
    """The name under which a class pickles is the plugin's, without a generation."""
    dumped = host.call("dump", door="raw", body=b"42").reply.data
    assert dumped is not None
    host.unload()
    assert host.load(shop) == Status.OK
    assert host.call("restore", door="raw", body=dumped).reply.text == "42"


def test_a_pickle_goes_to_another_process(host: NrHost, shop: Path, start_host: StartHost) -> None:
    dumped = host.call("dump", door="raw", body=b"43").reply.data
    assert dumped is not None
    other = start_host()
    assert other.load(shop) == Status.OK
    assert other.call("restore", door="raw", body=dumped).reply.text == "43"
