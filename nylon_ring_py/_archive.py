"""The archive of a plugin's files, and what it may hold: one reader for the importer and for the builder.

An archive is a u32 with the length of its index, the index, and the contents. The index holds three NUL-terminated
fields for each file: relative posix path, offset from the first content byte, size, the numbers in decimal. The
contents stand in the index's order and fill what follows it.

This runs at every plugin start, and imports nothing.
"""

from __future__ import annotations

__all__ = ["check_names", "read_archive"]

MAX_FILES = 65_536
MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_PATH_BYTES = 1024
MAX_DEPTH = 32
_MAX_DIGITS = 10  # of an offset or a size: a payload has at most 2**30 bytes

_REBUILD = "build the plugin again"


def read_archive(archive: bytes) -> dict[str, tuple[int, int]]:
    """Returns where each file of an archive begins and how many bytes it has, by relative posix path.

    Raises:
        ImportError: the archive is damaged, or holds what no plugin may.
    """
    length = int.from_bytes(archive[:4], "little")
    start = 4 + length
    if len(archive) < start:
        raise ImportError(f"the plugin's archive is truncated: {_REBUILD}")
    if length > MAX_INDEX_BYTES:
        raise ImportError(f"the plugin's archive has an index of {length} bytes, at most {MAX_INDEX_BYTES} are taken")
    try:
        fields = archive[4:start].decode().split("\0")
    except UnicodeDecodeError:
        raise ImportError(f"the plugin's archive has a damaged index, which is no UTF-8: {_REBUILD}") from None
    if fields.pop() or len(fields) % 3:
        raise ImportError(f"the plugin's archive has a damaged index: {_REBUILD}")
    if len(fields) > 3 * MAX_FILES:
        raise ImportError(f"the plugin's archive has {len(fields) // 3} files, at most {MAX_FILES} are taken")
    places = {}
    end, room = 0, len(archive) - start
    for at in range(0, len(fields), 3):
        offset, size = _number(fields[at + 1]), _number(fields[at + 2])
        if offset + size > room:
            raise ImportError(f"the plugin's archive is truncated: {_REBUILD}")
        if offset != end:
            raise ImportError(f"the plugin's archive has files that overlap, or a gap between them: {_REBUILD}")
        places[fields[at]] = (start + offset, size)
        end += size
    if end != room:
        raise ImportError(f"the plugin's archive has more in it than its index says: {_REBUILD}")
    if 3 * len(places) != len(fields):
        raise ImportError(f"the plugin's archive has a file twice: {_REBUILD}")
    try:
        check_names(places)
    except ValueError as error:
        raise ImportError(f"the plugin's archive is refused: {error}") from None
    return places


def check_names(paths: dict[str, tuple[int, int]] | set[str]) -> None:
    """Checks that these paths can be those of a plugin's files: each stays inside, and stands for one thing.

    Raises:
        ValueError: one cannot; the message names it.
    """
    folders = set()
    for path in paths:
        parts = path.split("/")
        if "" in parts or "." in parts or ".." in parts or "\\" in path or min(path) < " ":
            raise ValueError(f"{path!r} cannot be a file's path in a plugin: it is relative, with names between '/'")
        if len(parts) > MAX_DEPTH or len(path) > MAX_PATH_BYTES or len(path.encode()) > MAX_PATH_BYTES:
            raise ValueError(
                f"the path {path[:60]!r}… has {len(parts)} parts and {len(path)} characters; a plugin's have at most "
                f"{MAX_DEPTH} parts and {MAX_PATH_BYTES} bytes"
            )
        if parts[0] in ("nylon_ring_py", "nylon_ring_py.py"):
            raise ValueError(f"{path!r} would stand before the SDK of that name: it comes from the environment")
        while parts.pop() and parts:
            folders.add("/".join(parts))
    for folder in folders:
        if folder in paths:
            raise ValueError(f"{folder!r} is a file and a folder")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS or (text[0] == "0" and text != "0"):
        raise ImportError(f"the plugin's archive has a damaged index, {text[:20]!r} is no number: {_REBUILD}")
    return int(text)
