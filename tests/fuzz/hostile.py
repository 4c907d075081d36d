"""Payloads and archives that no builder writes: strategies for Hypothesis."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from hypothesis import strategies as st

_HEAD = struct.Struct("<8sIIQQQQQQQ")  # what the digest covers of the header
_HEADER_SIZE = _HEAD.size + 32 + 128

#: The module that a hostile plugin names: it must not be run.
CODE = b'import sys\nprint("RAN", file=sys.stderr)\n'

NAMES = st.sampled_from(
    ["main.py", "main.pyc", "a/b.txt", "", "/", "/etc/passwd", "../main.py", "a/../main.py", ".", "a//b", "./main.py",
     "main.py/", "x" * 5000, "\ud7ff", "main", "nylon_ring_py/__init__.py"]
) | st.text(st.characters(codec="utf-8"), max_size=12)  # fmt: skip
NUMBERS = (
    st.integers(-(2**65), 2**65).map(str)
    | st.integers(-8, 200).map(str)
    | st.sampled_from(["", "+1", " 1", "1_0", "٣", "0x10", "1e3", "9" * 5000, "-0", "00"])
)


@dataclass
class Row:
    """A file as the index has it."""

    path: str
    offset: str
    size: str

    def encode(self) -> bytes:
        """The three fields."""
        return "".join(f"{field}\0" for field in (self.path, self.offset, self.size)).encode("utf-8", "surrogatepass")


def archive(rows: list[Row], contents: bytes, length: int | None = None) -> bytes:
    """An archive of these parts, whatever they say. `length` is that of the index; right where it is None."""
    index = b"".join(row.encode() for row in rows)
    return struct.pack("<I", len(index) if length is None else length) + index + contents


def honest_rows(files: dict[str, bytes]) -> tuple[list[Row], bytes]:
    """Index and contents as `pack_archive` has them, in the order of the dict."""
    rows, contents = [], b""
    for path, content in files.items():
        rows.append(Row(path, str(len(contents)), str(len(content))))
        contents += content
    return rows, contents


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An honest archive with up to three lies in it."""
    rows, contents = honest_rows({"data/blob": b"x" * 40, "main.py": CODE, "other.py": b""})
    length: int | None = None
    cut: int | None = None
    for lie in draw(st.lists(st.sampled_from(LIES), min_size=1, max_size=3)):
        row = draw(st.sampled_from(rows))
        if lie == "path":
            row.path = draw(NAMES)
        elif lie == "offset":
            row.offset = draw(NUMBERS)
        elif lie == "size":
            row.size = draw(NUMBERS)
        elif lie == "order":
            rows = draw(st.permutations(rows))
        elif lie == "twice":
            rows = [*rows, Row(row.path, row.offset, row.size)]
        elif lie == "many":
            rows = (rows * draw(st.integers(2, 300)))[:1000]
        elif lie == "length":
            length = draw(st.integers(0, 2**32 - 1) | st.integers(0, 80))
        elif lie == "longer":
            contents += draw(st.binary(min_size=1, max_size=8))
        else:
            cut = draw(st.integers(0, 120))
    whole = archive(rows, contents, length)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + draw(st.binary(max_size=3)) + whole[at + 1 :]
    return whole[:cut]


LIES = ["path", "offset", "size", "order", "twice", "many", "length", "longer", "cut"]


def payload(boot: bytes, manifest: bytes, body: bytes) -> bytes:
    """A payload of these parts, with the right sizes and the right digest, signed by nobody."""
    at = _HEADER_SIZE
    ends = (at + len(boot), at + len(boot) + len(manifest))
    whole = boot + manifest + body
    places = (at, len(boot), ends[0], len(manifest), ends[1], len(body))
    head = _HEAD.pack(b"NYLONPY\x01", 2, at, at + len(whole), *places)
    return head + hashlib.sha256(head + whole).digest() + bytes(128) + whole


BOOT_VALUES = st.sampled_from(
    [b"", b"main", b"plugin", b"\xff\xfe", b"..", b"sys", b"main.plugin", b"v1-raw", b"x" * 300]
)
BOOT_KEYS = st.sampled_from([b"name", b"version", b"abi", b"\xff", b"", b"none"])

#: Boot records in pairs, without the keys that a plugin needs to be found.
BOOTS = st.lists(st.tuples(BOOT_KEYS, BOOT_VALUES), max_size=8).map(
    lambda pairs: b"".join(key + b"\0" + value + b"\0" for key, value in pairs)
)
MANIFESTS = st.sampled_from(
    [b"{}", b"", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 3000, b"9" * 5000]
) | st.binary(max_size=30)
