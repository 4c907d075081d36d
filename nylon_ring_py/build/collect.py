"""Finds the files that make up a plugin: one file and the siblings it imports, or a whole package."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from nylon_ring_py.build.errors import BuildError

__all__ = ["Collection", "collect"]

_SKIPPED_FOLDERS = {"__pycache__", ".git", ".hg", ".svn", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_TAKES_MODULE_NAME = {"import_module", "files", "get_data"}
_EXTENSION_SUFFIXES = (".so", ".pyd", ".dylib")


@dataclass
class Collection:
    """The files of one plugin.

    Attributes:
        folder: where the files lie; paths are relative to it.
        main: name of the main module.
        files: content by relative posix path.
        warnings: one line each, for the author.
    """

    folder: Path
    main: str
    files: dict[str, bytes] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def collect(source: Path) -> Collection:
    """Returns the files of a plugin.

    Args:
        source: a `.py` file, which brings along the modules and packages of its folder that it imports, directly or
            through others; or a package's folder, which brings everything in it.

    Raises:
        BuildError: there is no such plugin source, or a file has a syntax error.
        OSError: a file cannot be read.
    """
    path = Path(os.path.abspath(source))  # noqa: PTH100 -- a link keeps the name it has here
    main = path.name if path.is_dir() else path.stem
    if not path.exists():
        raise BuildError(f"{source} does not exist: give a .py file or a package's folder")
    if path.is_dir() and not (path / "__init__.py").is_file():
        raise BuildError(f"{source} has no __init__.py: give a package's folder, or one of its files")
    if path.is_file() and path.suffix != ".py":
        raise BuildError(f"{source} is no Python source: give a .py file or a package's folder")
    if main == "__init__":
        raise BuildError(f"{source} is a part of a package: give its folder, {path.parent}")
    if not main.isidentifier():
        raise BuildError(f"{main!r} cannot be a module's name: rename {source} to letters, digits and underscores")
    collector = _Collector(Collection(path.parent, main))
    if path.is_dir():
        collector.add_package(path)
    else:
        collector.add_module(path)
        collector.follow_imports()
    collector.warn_about_names()
    return collector.collection


class _Collector:
    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._trees: dict[str, ast.Module] = {}
        self._unscanned: list[str] = []

    def add_module(self, path: Path) -> None:
        relative = path.relative_to(self.collection.folder).as_posix()
        if relative in self.collection.files:
            return
        source = path.read_bytes()
        self.collection.files[relative] = source
        try:
            tree = ast.parse(source, str(path))
        except (SyntaxError, ValueError) as error:
            raise BuildError(_describe_syntax_error(path, error)) from None
        self._warn_about_file(path, tree)
        self._trees[relative] = tree
        self._unscanned.append(relative)

    def add_package(self, folder: Path) -> None:
        seen: set[str] = set()
        for parent, folders, names in os.walk(folder, followlinks=True):
            real = os.path.realpath(parent)
            folders[:] = [] if real in seen else sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
            if real in seen:
                continue
            seen.add(real)
            for name in sorted(names):
                self._add_file(Path(parent, name))

    def follow_imports(self) -> None:
        """Adds siblings until every import of a name that a sibling has is served."""
        while self._unscanned:
            relative = self._unscanned.pop()
            for name in sorted(_imported_names(self._trees[relative], at_top="/" not in relative)):
                self._add_sibling(name)

    def warn_about_names(self) -> None:
        """Warns about the plugin's own modules named in strings: inside a host they have other names."""
        own = {path.partition("/")[0].removesuffix(".py") for path in self._trees}
        for relative, tree in self._trees.items():
            for line, function, name in _names_in_strings(tree):
                if name.partition(".")[0] in own:
                    self.collection.warnings.append(
                        f"{self.collection.folder / relative}:{line}: {function}({name!r}) will not find the plugin's "
                        "own module, which has a private name inside a host: start from __package__"
                    )

    def _add_file(self, path: Path) -> None:
        if path.suffix == ".py":
            self.add_module(path)
        elif path.suffix in _EXTENSION_SUFFIXES:
            self.collection.warnings.append(
                f"{path} is left out: extension modules come from the Python environment, not from the plugin file"
            )
        elif path.suffix != ".pyc":
            self.collection.files[path.relative_to(self.collection.folder).as_posix()] = path.read_bytes()

    def _add_sibling(self, name: str) -> None:
        package, module = self.collection.folder / name, self.collection.folder / f"{name}.py"
        # Python itself never lets a file stand for a built-in module; and a copy of the SDK would be a second one.
        if name == "nylon_ring_py" or name in sys.builtin_module_names:
            return
        if f"{name}.py" in self.collection.files or f"{name}/__init__.py" in self.collection.files:
            return
        is_package = (package / "__init__.py").is_file()
        if not is_package and not module.is_file():
            return
        if name in sys.stdlib_module_names:
            found = package if is_package else module
            self.collection.warnings.append(f"{found} is taken instead of the standard library's {name}")
        if is_package:
            self.add_package(package)
        else:
            self.add_module(module)

    def _warn_about_file(self, path: Path, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "__file__":
                self.collection.warnings.append(
                    f"{path}:{node.lineno}: __file__ names no real file inside a plugin: "
                    "read data with importlib.resources.files(__package__)"
                )


def _imported_names(tree: ast.Module, at_top: bool) -> set[str]:
    """Returns the top-level names a module imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.level == 0 or (node.level == 1 and at_top)):
            if node.module:
                names.add(node.module.partition(".")[0])
            else:
                names.update(alias.name for alias in node.names)
    return names


def _names_in_strings(tree: ast.Module) -> list[tuple[int, str, str]]:
    """Returns line, function and text for calls such as `import_module("helpers")`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0].value
            if function in _TAKES_MODULE_NAME and isinstance(name, str):
                found.append((node.lineno, function, name))
    return found


def _describe_syntax_error(path: Path, error: SyntaxError | ValueError) -> str:
    line = getattr(error, "lineno", None)
    text = (getattr(error, "text", None) or "").strip()
    kind, message = type(error).__name__, getattr(error, "msg", None) or str(error)
    return f"{path}:{line or 1}: {kind}: {message}" + (f"\n    {text}" if text else "")
