"""What an archive may hold: each rule by itself, for its reader and for its writer."""

from __future__ import annotations

import struct

import pytest

from nylon_ring_py._archive import MAX_DEPTH, MAX_FILES, MAX_INDEX_BYTES, MAX_PATH_BYTES, read_archive
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import pack_archive

GOOD = ["plug.py", "a/b/c.txt", "ünï/x", "with space.txt", "..hidden/...", "-", "a" * MAX_PATH_BYTES, "é" * 512]
GOOD += ["/".join("d" * MAX_DEPTH), "a/nylon_ring_py/x.py", "nylon_ring_pyx.py", "json.py", "a.py", "a/x", "C:/x"]
PLACES = ["", "/", "/etc/passwd", "..", "../x", "a/../x", "a/..", ".", "./x", "a/./x", "a//b", "a/", "\\x", "a\\..\\x"]
PLACES += ["a\nb", "a\tb", "\x1f", "a/\x01/b", "\x1b[2Jx"]


def archive(index: str | bytes, contents: bytes = b"0123456789") -> bytes:
    raw = index if isinstance(index, bytes) else index.encode()
    return struct.pack("<I", len(raw)) + raw + contents


def holding(*paths: str) -> bytes:
    """An archive with these files, a byte each."""
    return archive("".join(f"{path}\0{at}\x001\0" for at, path in enumerate(paths)), bytes(len(paths)))


@pytest.mark.parametrize("path", GOOD)
def test_paths_that_are_taken(path: str) -> None:
    assert list(read_archive(holding(path))) == [path]
    assert read_archive(pack_archive({path: b"x"}))


@pytest.mark.parametrize("path", PLACES)
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(ImportError, match=r"archive is refused: .* cannot be a file's path in a plugin"):
        read_archive(holding("plug.py", path))
    with pytest.raises(BuildError, match="cannot be a file's path in a plugin"):
        pack_archive({"plug.py": b"", path: b""})


@pytest.mark.parametrize("path", ["a" * (MAX_PATH_BYTES + 1), "é" * 513, "/".join("d" * (MAX_DEPTH + 1))])
def test_paths_that_are_too_long(path: str) -> None:
    with pytest.raises(ImportError, match=f"at most {MAX_DEPTH} parts and {MAX_PATH_BYTES} bytes"):
        read_archive(holding(path))
    with pytest.raises(BuildError, match="at most"):
        pack_archive({path: b""})


@pytest.mark.parametrize(
    "path", ["nylon_ring_py.py", "nylon_ring_py/__init__.py", "nylon_ring_py/x/y", "nylon_ring_py"]
)
def test_the_name_of_the_sdk_is_taken(path: str) -> None:
    with pytest.raises(ImportError, match="would stand before the SDK"):
        read_archive(holding(path))
    with pytest.raises(BuildError, match="would stand before the SDK"):
        pack_archive({path: b""})


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b/c", "a/b"), ("a/b/c/d", "x", "a")])
def test_no_path_is_a_file_and_a_folder(paths: tuple[str, ...]) -> None:
    with pytest.raises(ImportError, match="is a file and a folder"):
        read_archive(holding(*paths))
    with pytest.raises(BuildError, match="is a file and a folder"):
        pack_archive(dict.fromkeys(paths, b""))


def test_no_file_is_there_twice() -> None:
    with pytest.raises(ImportError, match="has a file twice"):
        read_archive(holding("a", "b", "a"))


@pytest.mark.parametrize("number", ["-1", "+1", " 1", "1 ", "1_0", "", "x", "0x1", "1.0", "\u0661", "9" * 11, "\u00b2"])
def test_numbers_that_are_none(number: str) -> None:
    for text in (f"a\0{number}\x000\0", f"a\x000\0{number}\0"):
        with pytest.raises(ImportError, match="damaged index"):
            read_archive(archive(text))


@pytest.mark.parametrize(("offset", "size"), [(11, 0), (0, 11), (10, 1), (1, 10), (9999999999, 0), (0, 9999999999)])
def test_places_behind_the_end(offset: int, size: int) -> None:
    with pytest.raises(ImportError, match="truncated"):
        read_archive(archive(f"a\0{offset}\0{size}\0"))


def test_places_at_the_end() -> None:
    assert read_archive(archive("b\x000\x0010\0a\x0010\x000\0"))


@pytest.mark.parametrize(
    "text", ["a", "a\x000\0", "a\x000", "a\x000\x001", "a\x000\x001\0b", b"\xff\x000\x001\0", "\0"]
)
def test_indexes_that_are_none(text: str | bytes) -> None:
    with pytest.raises(ImportError, match="damaged index"):
        read_archive(archive(text))


@pytest.mark.parametrize(
    "raw", [b"", b"\0", b"\0\0\0", b"\1\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f" + b"a" * 99]
)
def test_archives_that_are_cut(raw: bytes) -> None:
    with pytest.raises(ImportError, match="truncated"):
        read_archive(raw)


def test_more_files_than_are_taken() -> None:
    paths = [str(number) for number in range(MAX_FILES + 1)]
    assert len(read_archive(holding(*paths[:-1]))) == MAX_FILES
    with pytest.raises(ImportError, match=f"has {MAX_FILES + 1} files, at most {MAX_FILES} are taken"):
        read_archive(holding(*paths))
    with pytest.raises(BuildError, match=f"{MAX_FILES} fit into one"):
        pack_archive(dict.fromkeys(paths, b""))


def test_a_longer_index_than_is_taken() -> None:
    with pytest.raises(ImportError, match=f"at most {MAX_INDEX_BYTES} are taken"):
        read_archive(archive(b"a" * (MAX_INDEX_BYTES + 1)))
