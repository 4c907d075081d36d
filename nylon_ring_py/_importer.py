"""Imports a plugin's modules from memory, in a private package that leaves nothing behind.

Every instance of a plugin owns a package `nylon_ring_plugin_<name>`; its modules are that package's sub-modules.
A finder is not told who imports, so the plugin's modules get builtins of their own, whose `__import__` takes the
plugin's top-level names to the private package. Everything else reaches the real `__import__` unchanged.

This runs at every plugin start: it imports what an interpreter has loaded anyway, and the rest when it is asked for.
"""

from __future__ import annotations

import _imp
import builtins
import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, decode_source
from types import ModuleType

from nylon_ring_py._archive import read_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import TraversableResources
    from types import CodeType

    from nylon_ring_py._atexit import ExitCallbacks
    from nylon_ring_py._resources import FolderFinder

__all__ = ["PluginImporter"]

_PYC_HEADER_SIZE = 16
_TOLD_OF_THE_HOST = ("threading", "subprocess")  # the keys of _standard.EXECUTED_BY


class _Finder:
    """Finds the importers of all plugins. There is one, and it stays on `sys.meta_path` and `sys.path_hooks` for good.

    An import walks those lists while other threads import and load plugins: whoever takes something out of them makes
    such an import pass over the next one, and not find its module (gh-130094).
    """

    def __init__(self) -> None:
        self.importers: dict[str, PluginImporter] = {}  # by private package

    def install(self) -> None:
        """Takes the places it must have. May be called again."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        if self.path_hook not in sys.path_hooks:
            sys.path_hooks.insert(0, self.path_hook)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Returns the spec of a plugin's module, and of the standard ones that must be told of the host; else None."""
        if fullname in _TOLD_OF_THE_HOST:
            from nylon_ring_py._standard import find_standard

            return find_standard(fullname, self)
        importer = self.importers.get(fullname.partition(".")[0])
        return importer.find_spec(fullname) if importer is not None else None

    def path_hook(self, path: object) -> FolderFinder:
        """Returns what lists a folder of a plugin, so that `pkgutil.iter_modules(__path__)` sees its modules.

        Raises:
            ImportError: it is no plugin's.
        """
        package, colon, folder = path.partition(":") if isinstance(path, str) else ("", "", "")
        importer = self.importers.get(package)
        if not colon or importer is None:
            raise ImportError
        from nylon_ring_py._resources import FolderFinder

        return FolderFinder(importer, folder)


_finder = _Finder()


def install_finder() -> None:
    """Sees to it that plugins' modules are found. May be called again."""
    _finder.install()


class PluginImporter:
    """The loader of one plugin instance.

    Args:
        archive: the plugin's files, as `nylon_ring_py.build.payload.pack_archive` makes them.
        name: the plugin's name; the private package is named after it.
        module: the main module's name inside the archive, such as ``"hello"``.
        origin: path of the plugin file; sources appear as ``origin/relative path`` in tracebacks.

    Attributes:
        package: name of the private package, empty before `load`.

    Raises:
        ImportError: the archive is damaged, or holds what no plugin may.
    """

    def __init__(self, archive: bytes, name: str, module: str, origin: str) -> None:
        self._archive = archive
        self._places = read_archive(archive)
        self._folders = {path[:i] for path in self._places for i, c in enumerate(path) if c == "/"}
        self._origin = origin
        self._name = name
        self._main = module
        modules = (path for path in self._places if "/" in path or path.endswith(".py"))
        self._top_names = frozenset(path.partition("/")[0].removesuffix(".py") for path in modules)
        self._exit_callbacks: list[ExitCallbacks] = []
        self._builtins = dict(vars(builtins), __import__=self._import)
        self._unloaded = False
        self.package = ""

    def load(self) -> ModuleType:
        """Imports the plugin's main module and returns it. An exception on the way undoes everything first.

        Raises:
            ImportError: it is loaded, or was unloaded, already.
            BaseException: whatever the plugin's code raises.
        """
        if self.package:
            raise ImportError(f"plugin {self._name!r} was loaded before: make another importer")
        try:
            self._claim_package()
            _finder.importers[self.package] = self
            install_finder()
            main = f"{self.package}.{self._main}"
            builtins.__import__(main)
            return sys.modules[main]
        except BaseException:
            self.unload()
            raise

    def unload(self) -> None:
        """Takes the plugin's modules and all traces of them out of the interpreter. May be called again.

        Code that still runs keeps its objects; an import it starts from now on raises ImportError.
        """
        if self._unloaded or not self.package:
            return
        self._unloaded = True
        _finder.importers.pop(self.package, None)
        prefix = self.package + "."
        # Other threads import meanwhile: list() takes its copy in one step.
        for name in list(sys.modules):
            if name.startswith(prefix):
                sys.modules.pop(name, None)
        for path in list(sys.path_importer_cache):
            if isinstance(path, str) and path.startswith(f"{self.package}:"):
                sys.path_importer_cache.pop(path, None)
        if "linecache" in sys.modules:
            import linecache  # by import, which waits where another thread is in the middle of its own

            for path in self._places:
                linecache.cache.pop(f"{self._origin}/{path}", None)
        # Last: from here on the name is another instance's, which must find nothing under it and lose nothing of its
        # own.
        sys.modules.pop(self.package, None)

    def run_exit_callbacks(self) -> list[BaseException]:
        """Runs what the plugin registered with `atexit`, the last one first.

        Returns:
            The exceptions of those that failed; the others ran all the same.
        """
        return [failure for callbacks in self._exit_callbacks for failure in callbacks.run()]

    # The names a plugin's code imports

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """The `__import__` of the plugin's own code."""
        if level == 0:
            top = name.partition(".")[0]
            if top in self._top_names:
                return self._import_own(name, top, globals, locals, fromlist)
            if name == "atexit":
                return self._atexit()
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _import_own(
        self,
        name: str,
        top: str,
        globals: Mapping[str, object] | None,
        locals: Mapping[str, object] | None,
        fromlist: Sequence[str] | None,
    ) -> ModuleType:
        if self._unloaded:
            # Another instance may own the name by now: its modules are not ours.
            raise ImportError(f"cannot import {name!r}: plugin {self._name!r} was unloaded", name=name)
        found = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{self.package}.{top}"]

    def _atexit(self) -> ExitCallbacks:
        from nylon_ring_py._atexit import ExitCallbacks

        if not self._exit_callbacks:
            # append is atomic: where two threads meet, both get the first one.
            self._exit_callbacks.append(ExitCallbacks())
        return self._exit_callbacks[0]

    # What the finder asks

    def find_spec(self, fullname: str) -> ModuleSpec | None:
        """Returns the spec of a module below the private package, None where there is none."""
        location = self._locate(fullname)
        if location is None:
            return None
        spec = self._spec(fullname, is_package=location[1])
        if location[0]:
            spec.origin = f"{self._origin}/{location[0]}"
            spec.has_location = True
        return spec

    def _locate(self, fullname: str) -> tuple[str, bool] | None:
        """Returns the source's path (empty where there is none) and whether it is a package."""
        base = self._relative(fullname)
        if not base:
            return "", True
        for path, is_package in ((f"{base}/__init__.py", True), (f"{base}.py", False)):
            if path in self._places:
                return path, is_package
        return ("", True) if base in self._folders else None

    def _relative(self, fullname: str) -> str:
        """Returns the path of a module without its suffix; empty for the private package itself."""
        return fullname[len(self.package) + 1 :].replace(".", "/")

    def _spec(self, fullname: str, is_package: bool) -> ModuleSpec:
        # Finders and loaders are recognised by their methods; the base classes of importlib.abc take long to load.
        spec = ModuleSpec(fullname, self, is_package=is_package)  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [f"{self.package}:{self._relative(fullname)}"]
        return spec

    def _claim_package(self) -> None:
        """Puts the private package into `sys.modules` under the first free name; setdefault decides a race."""
        base = "nylon_ring_plugin_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in self._name)
        number, candidate = 1, base
        while True:
            root = ModuleType(candidate, f"The private package of plugin {self._name!r}.")
            if sys.modules.setdefault(candidate, root) is root:
                break
            number += 1
            candidate = f"{base}__{number}"
        self.package = candidate
        root.__spec__ = self._spec(candidate, is_package=True)
        root.__loader__ = self  # type: ignore[assignment]
        root.__package__ = candidate
        root.__path__ = root.__spec__.submodule_search_locations or []

    def children(self, folder: str) -> dict[str, bool]:
        """Returns the names directly in a folder of the archive, with True for those that are folders."""
        prefix = f"{folder}/" if folder else ""
        rests = (path[len(prefix) :].partition("/") for path in self._places if path.startswith(prefix))
        return {name: bool(slash) for name, slash, _ in rests}

    # Loader

    def create_module(self, spec: ModuleSpec) -> None:
        """Returns None: the ordinary module object will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Runs a module's code with the plugin's own builtins."""
        if self._unloaded:
            raise ImportError(f"plugin {self._name!r} was unloaded", name=module.__name__)
        code = self.get_code(module.__name__)
        module.__dict__["__builtins__"] = self._builtins
        if code is not None:
            exec(code, module.__dict__)

    def get_code(self, fullname: str) -> CodeType | None:
        """Returns a module's code object, None for a folder without code.

        Raises:
            ImportError: no such module in this plugin.
            SyntaxError: the source must be compiled here, and cannot be.
        """
        path = self.path_of(fullname)
        if not path:
            return None
        filename = f"{self._origin}/{path}"
        compiled = self._read(path + "c") if path + "c" in self._places else b""
        if compiled[:4] == MAGIC_NUMBER and len(compiled) > _PYC_HEADER_SIZE:
            code: CodeType = marshal.loads(memoryview(compiled)[_PYC_HEADER_SIZE:])
            _imp._fix_co_filename(code, filename)  # type: ignore[attr-defined]
            return code
        return compile(self._read(path), filename, "exec", dont_inherit=True)

    def get_source(self, fullname: str) -> str | None:
        """Returns a module's source text for tracebacks and debuggers, None for a folder without code."""
        path = self.path_of(fullname)
        return decode_source(self._read(path)) if path else None

    def get_filename(self, fullname: str) -> str:
        """Returns the file name that tracebacks show for a module."""
        return f"{self._origin}/{self.path_of(fullname)}"

    def is_package(self, fullname: str) -> bool:
        """Returns whether the module can have sub-modules."""
        location = self._locate(fullname)
        return location is not None and location[1]

    def get_data(self, path: str) -> bytes:
        """Returns a file's bytes for `pkgutil.get_data`; `path` begins with the plugin file's own path.

        Raises:
            OSError: no such file in this plugin.
        """
        relative = path.removeprefix(f"{self._origin}/")
        if relative not in self._places:
            raise FileNotFoundError(2, "no such file in the plugin", path)
        return self._read(relative)

    def get_resource_reader(self, fullname: str) -> TraversableResources:
        """Returns what `importlib.resources.files` reads a package's data files through."""
        from nylon_ring_py._resources import ArchiveReader

        return ArchiveReader(self, self._relative(fullname))

    def read(self, path: str) -> bytes:
        """Returns a file's bytes; `path` is relative to the archive.

        Raises:
            FileNotFoundError: no such file in this plugin.
        """
        return self.get_data(f"{self._origin}/{path}")

    def path_of(self, fullname: str) -> str:
        """Returns the archive path of a module's source; empty for a folder without code.

        Raises:
            ImportError: no such module in this plugin.
        """
        location = self._locate(fullname)
        if location is None:
            raise ImportError(f"plugin {self._name!r} has no module {fullname!r}", name=fullname)
        return location[0]

    def _read(self, path: str) -> bytes:
        offset, size = self._places[path]
        return self._archive[offset : offset + size]
