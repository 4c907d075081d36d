"""Folders of a plugin, for `importlib.resources` and `pkgutil`, read from the importer's memory.

Loaded when first asked for: what it imports takes longer than a plugin's whole start.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib.resources.abc import Traversable, TraversableResources
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nylon_ring_py._importer import PluginImporter

__all__ = ["ArchivePath", "ArchiveReader", "FolderFinder"]


class ArchivePath(Traversable):
    """A file or folder of the plugin's archive, which may also be missing.

    Args:
        importer: whose archive.
        path: relative posix path; empty for the archive's root.
    """

    def __init__(self, importer: PluginImporter, path: str) -> None:
        self._importer = importer
        self._path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2]

    def is_dir(self) -> bool:
        """Returns whether this is a folder."""
        return bool(self._importer.children(self._path))

    def is_file(self) -> bool:
        """Returns whether this is a file."""
        folder, _, name = self._path.rpartition("/")
        return self._importer.children(folder).get(name) is False

    def iterdir(self) -> Iterator[ArchivePath]:
        """Yields what is in this folder.

        Raises:
            NotADirectoryError: it is a file, or missing.
        """
        names = self._importer.children(self._path)
        if not names:
            raise NotADirectoryError(20, "no such folder in the plugin", self._path)
        return (self / name for name in sorted(names))

    def joinpath(self, *descendants: Any) -> ArchivePath:
        """Returns the path below this one; each argument may hold several parts."""
        parts = [part for part in self._path.split("/") if part]
        for part in "/".join(str(descendant) for descendant in descendants).split("/"):
            if part == "..":
                raise ValueError(f"{part!r} would leave the package's folder")
            if part not in ("", "."):
                parts.append(part)
        return ArchivePath(self._importer, "/".join(parts))

    def __truediv__(self, child: Any) -> ArchivePath:
        return self.joinpath(child)

    def read_bytes(self) -> bytes:
        """Returns the file's content.

        Raises:
            FileNotFoundError: no such file in the plugin.
        """
        return self._importer.read(self._path)

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Returns the file's text, decoded as UTF-8 unless an encoding is given."""
        with self.open("r", encoding=encoding, errors=errors) as file:
            text: str = file.read()
            return text

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        """Returns the file opened for reading; further arguments are those of `io.TextIOWrapper`.

        Raises:
            ValueError: a mode other than "r" and "rb".
        """
        if mode not in ("r", "rt", "rb"):
            raise ValueError(f"a plugin's data files can be opened with 'r' or 'rb', not {mode!r}")
        raw = io.BytesIO(self.read_bytes())
        if "b" in mode:
            return raw
        if not args and kwargs.get("encoding") is None:
            kwargs["encoding"] = "utf-8"
        return io.TextIOWrapper(raw, *args, **kwargs)

    def __repr__(self) -> str:
        return f"ArchivePath({self._path!r})"


class ArchiveReader(TraversableResources):
    """Gives `importlib.resources` the folder of one package."""

    def __init__(self, importer: PluginImporter, folder: str) -> None:
        self._folder = ArchivePath(importer, folder)

    def files(self) -> ArchivePath:
        """Returns the package's folder."""
        return self._folder


class FolderFinder:
    """Lists a package's sub-modules. It finds none: the finder on `sys.meta_path` was asked first."""

    def __init__(self, importer: PluginImporter, folder: str) -> None:
        self._importer = importer
        self._folder = folder

    def find_spec(self, fullname: str, target: object = None) -> None:
        """Returns None, whatever is asked."""

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """Yields the name of each sub-module and whether it is a package, for `pkgutil`."""
        for name, is_folder in sorted(self._importer.children(self._folder).items()):
            if is_folder:
                folder = f"{self._folder}/{name}" if self._folder else name
                if "__init__.py" in self._importer.children(folder):
                    yield prefix + name, True
            elif name.endswith(".py") and name != "__init__.py":
                yield prefix + name[:-3], False
