"""pytest fixtures for plugins; pytest finds them by itself wherever nylon-ring-py is installed.

Which plugin is said by a marker, ``@pytest.mark.nylon_ring_plugin("orders.py")`` on a test, a class or a module; its
path is looked for beside the test's file, then in pytest's rootdir. Or for all tests by the ini option
``nylon_ring_plugin``, whose path is one from rootdir.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Literal

    from nylon_ring_py.host import Host
    from nylon_ring_py.plugin import Plugin
    from nylon_ring_py.testing import FakeHost

_NAME = "nylon_ring_plugin"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini(_NAME, "the plugin of the fixtures host and fake_host: FILE_OR_PACKAGE[:OBJECT]", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_NAME}(source, abi='v1', capacity=None, clock='real'): the plugin of the fixtures host and fake_host, as "
        "FILE_OR_PACKAGE[:OBJECT]; the keywords are those of nylon_ring_py.testing.FakeHost",
    )


class BuildPlugin:
    """What the fixture `nylon_ring_build` gives: a function that builds plugins, each once per session.

    Args:
        folder: where the built files go.
        root: what relative paths are relative to.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._built: dict[tuple[Path, str, str], Path] = {}

    def __call__(self, source: str | os.PathLike[str], *, abi: Literal["v1", "v1-raw"] = "v1") -> Path:
        """Build a plugin for the running Python.

        Args:
            source: FILE_OR_PACKAGE[:OBJECT]; a relative path is one from pytest's rootdir.
            abi: the layout of its v1 functions; v2 is always offered.

        Returns:
            The built file, the same for the same arguments.

        Raises:
            nylon_ring_py.build.errors.BuildError: it cannot be built; the message says why.
        """
        import sys

        from nylon_ring_py.build.builder import build_plugin
        from nylon_ring_py.cli.main import split_object

        path, object_name = split_object(str(source))
        file = (self._root / path).resolve()
        key = (file, object_name, abi)
        if key not in self._built:
            folder = self._folder / str(len(self._built))
            folder.mkdir()
            result = build_plugin(file, object_name=object_name, out=folder / f"{file.stem}.so", abi=abi)
            for warning in result.warnings:
                print(f"nylon-ring: warning: {warning}", file=sys.stderr)
            self._built[key] = result.path
        return self._built[key]


@pytest.fixture(scope="session")
def nylon_ring_build(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> BuildPlugin:
    """Builds plugin files for the running Python: ``nylon_ring_build("orders.py")`` gives the path."""
    return BuildPlugin(tmp_path_factory.mktemp("nylon_ring"), pytestconfig.rootpath)


@pytest.fixture
def nylon_ring_plugin(request: pytest.FixtureRequest) -> Plugin:
    """The test's `Plugin`, imported from its source into this process; the module is imported once."""
    return _import_plugin(_Wanted(request))


@pytest.fixture
def fake_host(request: pytest.FixtureRequest) -> Iterator[FakeHost]:
    """A `FakeHost` of the test's plugin. After the test it is shut down, and its promise is checked."""
    from nylon_ring_py.testing import FakeHost

    wanted = _Wanted(request)
    plugin = _import_plugin(wanted)
    with FakeHost(plugin, abi=wanted.abi, capacity=wanted.capacity, clock=wanted.clock) as fake:
        yield fake


@pytest.fixture
def host(request: pytest.FixtureRequest, nylon_ring_build: BuildPlugin) -> Iterator[Host]:
    """The test's plugin, built and loaded as a host loads it, by `nylon_ring_py.host.Host`; unloaded after the test."""
    from nylon_ring_py.build.errors import BuildError
    from nylon_ring_py.errors import MissingDependencyError

    wanted = _Wanted(request)
    if wanted.clock != "real":
        raise _failure("time cannot be moved by hand in a built plugin: use the fixture fake_host with clock='manual'")
    try:
        from nylon_ring_py.host import Host
    except MissingDependencyError as error:
        raise _failure(f"{error}. (The fixture fake_host does without.)") from None
    try:
        file = nylon_ring_build(wanted.text)
    except BuildError as error:
        raise _failure(f"{wanted.text} cannot be built: {error}") from None
    more = {} if wanted.capacity is None else {"stream_capacity": wanted.capacity}
    with Host.load(file, abi=wanted.abi, **more) as loaded:
        yield loaded


class _Wanted:
    """Which plugin a test wants, and how, from its marker or the ini option."""

    abi: Literal["v1", "v2"]
    capacity: int | None
    clock: Literal["real", "manual"]

    def __init__(self, request: pytest.FixtureRequest) -> None:
        from nylon_ring_py.cli.main import split_object

        marker = request.node.get_closest_marker(_NAME)
        source = self._source(marker, request.config)
        options = {"abi": "v1", "capacity": None, "clock": "real", **(marker.kwargs if marker is not None else {})}
        if options.keys() != {"abi", "capacity", "clock"}:
            raise _failure(f"@pytest.mark.{_NAME} takes a source, abi=, capacity= and clock=; not {marker.kwargs!r}")
        self.abi, self.capacity, self.clock = options["abi"], options["capacity"], options["clock"]
        path, self.object_name = split_object(source)
        folders = [request.config.rootpath] if marker is None else [request.path.parent, request.config.rootpath]
        found = [folder / path for folder in folders if (folder / path).exists()]
        if not found:
            tried = " and ".join(str(folder / path) for folder in dict.fromkeys(folders))
            raise _failure(f"there is no plugin {source!r}: looked for {tried}")
        self.source = found[0].resolve()
        self.text = f"{self.source}:{self.object_name}" if self.object_name else str(self.source)

    @staticmethod
    def _source(marker: pytest.Mark | None, config: pytest.Config) -> str:
        if marker is not None:
            if len(marker.args) != 1 or not isinstance(marker.args[0], str | Path):
                raise _failure(f"@pytest.mark.{_NAME} takes one source, FILE_OR_PACKAGE[:OBJECT]; not {marker.args!r}")
            return str(marker.args[0])
        source = str(config.getini(_NAME))
        if not source:
            raise _failure(
                f"which plugin? Mark the test with @pytest.mark.{_NAME}('FILE_OR_PACKAGE[:OBJECT]'), or set the ini "
                f"option {_NAME} for all tests"
            )
        return source


def _import_plugin(wanted: _Wanted) -> Plugin:
    from nylon_ring_py.build.child import find_plugin
    from nylon_ring_py.build.errors import BuildError

    try:
        return find_plugin(_import_source(wanted.source), wanted.object_name, str(wanted.source))[1]
    except BuildError as error:
        raise _failure(str(error)) from None


def _import_source(source: Path) -> ModuleType:
    """The module of a file or package, as ``import`` would give it in the test; it shares the test's state."""
    import importlib
    import sys

    file = source / "__init__.py" if source.is_dir() else source
    for module in list(sys.modules.values()):
        known = getattr(module, "__file__", None)
        if isinstance(known, str) and Path(known) == file:
            return module
    other = sys.modules.get(source.stem)
    if other is not None:
        raise _failure(
            f"{source} cannot be imported: another module {source.stem!r} is there already, from "
            f"{getattr(other, '__file__', 'nowhere')}"
        )
    if str(source.parent) not in sys.path:
        sys.path.insert(0, str(source.parent))
        importlib.invalidate_caches()
    module = importlib.import_module(source.stem)
    if Path(module.__file__ or "") != file:
        raise _failure(f"{source} cannot be imported: import {source.stem} finds {module.__file__}")
    return module


def _failure(reason: str) -> BaseException:
    return pytest.fail.Exception(f"nylon-ring: {reason}", pytrace=False)
