"""The payload's bytes: header, boot record, manifest, archive. `shim/payload.h` holds the same numbers."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nylon_ring_py.build.elf import extract_payload
from nylon_ring_py.build.errors import BuildError

__all__ = ["Payload", "decode_payload", "encode_payload", "pack_archive", "read_payload", "unpack_archive"]

MAGIC = b"NYLONPY\x01"
FORMAT = 1
_HEADER = struct.Struct("<8sIIQQQQQQQII")
_U32 = struct.Struct("<I")


@dataclass(frozen=True)
class Payload:
    """What a plugin file carries.

    Attributes:
        boot: the boot record, what the stub knows before Python runs.
        manifest: for people and tools; JSON values.
        files: content by relative posix path, in the archive's order.
    """

    boot: dict[str, str]
    manifest: dict[str, Any]
    files: dict[str, bytes]


def pack_archive(files: Mapping[str, bytes]) -> bytes:
    """Returns the files as one archive: u32 length of the index, the index, the contents.

    The index holds three NUL-terminated fields for each file: relative posix path, offset from the first content
    byte, size, the numbers in decimal.

    Raises:
        BuildError: a path that is empty, absolute, leaves the folder, or has a NUL.
    """
    index, blobs, offset = [], [], 0
    for path, content in sorted(files.items()):
        if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise BuildError(f"{path!r} cannot be a file's path in a plugin")
        index.append(f"{path}\0{offset}\0{len(content)}\0")
        blobs.append(content)
        offset += len(content)
    head = "".join(index).encode()
    return b"".join([_U32.pack(len(head)), head, *blobs])


def unpack_archive(archive: bytes) -> dict[str, bytes]:
    """Returns the files of an archive.

    Raises:
        BuildError: the archive is damaged.
    """
    try:
        (length,) = _U32.unpack_from(archive)
        start = _U32.size + length
        fields = archive[_U32.size : start].decode().split("\0")[:-1]
        spans = [(fields[i], start + int(fields[i + 1]), int(fields[i + 2])) for i in range(0, len(fields), 3)]
    except (struct.error, ValueError, IndexError):
        raise BuildError("the plugin's archive has a damaged index") from None
    if start > len(archive) or any(at < start or size < 0 or at + size > len(archive) for _, at, size in spans):
        raise BuildError("the plugin's archive is truncated")
    return {path: archive[at : at + size] for path, at, size in spans}


def encode_payload(boot: Mapping[str, str], manifest: Mapping[str, Any], archive: bytes) -> bytes:
    """Returns the payload as it lies in the plugin file.

    Args:
        boot: keys and values without NUL; keys not empty.
        manifest: JSON values; stored with sorted keys.
        archive: from `pack_archive`.

    Raises:
        BuildError: a boot record that cannot be stored.
    """
    strings = [part for item in boot.items() for part in item]
    for text in strings:
        if "\0" in text:
            raise BuildError(f"{text!r} has a NUL character, which the boot record cannot hold")
    boot_bytes = b"".join(os.fsencode(text) + b"\0" for text in strings)
    manifest_bytes = json.dumps(manifest, sort_keys=True, ensure_ascii=True, indent=1).encode()
    body = boot_bytes + manifest_bytes + archive
    at = _HEADER.size
    header = _HEADER.pack(
        MAGIC, FORMAT, _HEADER.size, at + len(body),
        at, len(boot_bytes),
        at + len(boot_bytes), len(manifest_bytes),
        at + len(boot_bytes) + len(manifest_bytes), len(archive),
        zlib.crc32(body), 0,
    )  # fmt: skip
    return header + body


def decode_payload(payload: bytes) -> Payload:
    """Returns the parts of a payload, checked as the stub checks them.

    Raises:
        BuildError: damaged, or of another format.
    """
    if len(payload) < _HEADER.size:
        raise BuildError("the payload is shorter than its header")
    magic, format_, header_size, total, *places, crc, _ = _HEADER.unpack_from(payload)
    if (magic, format_, header_size) != (MAGIC, FORMAT, _HEADER.size):
        raise BuildError(f"the payload has magic {magic!r} and format {format_}; this version reads format {FORMAT}")
    if total != len(payload) or zlib.crc32(payload[_HEADER.size :]) != crc:
        raise BuildError("the payload is damaged; build the plugin again with nylon-ring build-plugin")
    parts = []
    for offset, size in zip(places[::2], places[1::2], strict=True):
        if offset < _HEADER.size or offset + size > total:
            raise BuildError("a part of the payload lies outside of it")
        parts.append(payload[offset : offset + size])
    strings = parts[0].split(b"\0")
    if strings.pop() or len(strings) % 2 or not strings:
        raise BuildError("the payload's boot record is not made of pairs of strings")
    boot = {os.fsdecode(key): os.fsdecode(value) for key, value in zip(strings[::2], strings[1::2], strict=True)}
    return Payload(boot, json.loads(parts[1]), unpack_archive(parts[2]))


def read_payload(path: str | Path) -> Payload:
    """Returns what a built plugin file carries.

    Args:
        path: a plugin made by `nylon-ring build-plugin`.

    Raises:
        OSError: the file cannot be read.
        BuildError: it is no such plugin, or damaged.
    """
    try:
        return decode_payload(extract_payload(Path(path).read_bytes()))
    except BuildError as error:
        raise BuildError(f"{path}: {error}") from None
