"""The payload's bytes: header, boot record, manifest, archive. `shim/payload.h` holds the same numbers."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nylon_ring_py._archive import MAX_FILES, check_names, read_archive
from nylon_ring_py.build.elf import extract_payload
from nylon_ring_py.build.errors import BuildError

__all__ = ["Payload", "decode_payload", "encode_payload", "pack_archive", "read_payload", "unpack_archive"]

MAGIC = b"NYLONPY\x01"
FORMAT = 2
_HEADER = struct.Struct("<8sIIQQQQQQQ32s128s")
_HASHED = struct.calcsize("<8sIIQQQQQQQ")  # what stands before the digest
SIGNATURE_PLACE = _HASHED + 32
SIGNATURE_SIZE = 128
_U32 = struct.Struct("<I")

# What a file may ask of a host: the stub refuses more.
_MAX_PAYLOAD = 1 << 30
_MAX_BOOT = 1 << 16
_MAX_PAIRS = 64
_MAX_KEY = 64
_MAX_VALUE = 4095
_MAX_MANIFEST = 16 << 20
_MAX_NESTING = 32
_MAX_TEXT = 65_536
_MAX_VALUES = 1 << 20


@dataclass(frozen=True)
class Payload:
    """What a plugin file carries.

    Attributes:
        boot: the boot record, what the stub knows before Python runs.
        manifest: for people and tools; JSON values.
        files: content by relative posix path, in the archive's order.
        sha256: the payload's digest, which was checked.
        signature: the signature's bytes, which were not; zero where nobody signed.
    """

    boot: dict[str, str]
    manifest: dict[str, Any]
    files: dict[str, bytes]
    sha256: bytes
    signature: bytes


def pack_archive(files: Mapping[str, bytes]) -> bytes:
    """Returns the files as one archive; `nylon_ring_py._archive` describes it.

    Raises:
        BuildError: a path that is empty, absolute, leaves the folder, or is otherwise none of a plugin's.
    """
    try:
        check_names(set(files))
    except UnicodeEncodeError as error:
        raise BuildError(f"{error.object!r} cannot be a file's path in a plugin: it is no UTF-8") from None
    except ValueError as error:
        raise BuildError(str(error)) from None
    if len(files) > MAX_FILES:
        raise BuildError(f"the plugin has {len(files)} files; {MAX_FILES} fit into one: keep data in files beside it")
    index, blobs, offset = [], [], 0
    for path, content in sorted(files.items()):
        index.append(f"{path}\0{offset}\0{len(content)}\0")
        blobs.append(content)
        offset += len(content)
    head = "".join(index).encode()
    return b"".join([_U32.pack(len(head)), head, *blobs])


def unpack_archive(archive: bytes) -> dict[str, bytes]:
    """Returns the files of an archive.

    Raises:
        BuildError: the archive is damaged, or holds what no plugin may.
    """
    try:
        places = read_archive(archive)
    except ImportError as error:
        raise BuildError(str(error)) from None
    return {path: archive[at : at + size] for path, (at, size) in places.items()}


def encode_payload(boot: Mapping[str, str], manifest: Mapping[str, Any], archive: bytes) -> bytes:
    """Returns the payload as it lies in the plugin file.

    Args:
        boot: keys and values without NUL; keys not empty.
        manifest: JSON values; stored with sorted keys.
        archive: from `pack_archive`.

    Raises:
        BuildError: a boot record that cannot be stored, or more than a host takes.
    """
    for key, value in boot.items():
        if "\0" in key + value:
            raise BuildError(f"{key + value!r} has a NUL character, which the boot record cannot hold")
        if not key or len(os.fsencode(key)) > _MAX_KEY or len(os.fsencode(value)) > _MAX_VALUE:
            raise BuildError(f"{key}={value[:60]!r}… is too long for the boot record: {_MAX_VALUE} bytes fit")
    boot_bytes = b"".join(os.fsencode(text) + b"\0" for item in boot.items() for text in item)
    manifest_bytes = json.dumps(manifest, sort_keys=True, ensure_ascii=True, indent=1).encode()
    body = boot_bytes + manifest_bytes + archive
    at = _HEADER.size
    if len(manifest_bytes) > _MAX_MANIFEST or at + len(body) > _MAX_PAYLOAD:
        raise BuildError(
            f"the plugin has {len(body)} bytes, {len(manifest_bytes)} of them in its manifest; {_MAX_PAYLOAD} and "
            f"{_MAX_MANIFEST} fit: keep large data in files beside it"
        )
    head = _HEADER.pack(
        MAGIC, FORMAT, _HEADER.size, at + len(body),
        at, len(boot_bytes),
        at + len(boot_bytes), len(manifest_bytes),
        at + len(boot_bytes) + len(manifest_bytes), len(archive),
        bytes(32), bytes(SIGNATURE_SIZE),
    )[:_HASHED]  # fmt: skip
    return head + _digest(head, body) + bytes(SIGNATURE_SIZE) + body


def decode_payload(payload: bytes) -> Payload:
    """Returns the parts of a payload, checked as the stub checks them. Whose the signature is, it does not ask.

    Raises:
        BuildError: damaged, of another format, or more than a host takes.
    """
    if len(payload) < _HEADER.size:
        raise BuildError("the payload is shorter than its header")
    magic, format_, header_size, total, *places, digest, signature = _HEADER.unpack_from(payload)
    if (magic, format_, header_size) != (MAGIC, FORMAT, _HEADER.size):
        raise BuildError(f"the payload has magic {magic!r} and format {format_}; this version reads format {FORMAT}")
    if total != len(payload) or total > _MAX_PAYLOAD or _digest(payload[:_HASHED], payload[_HEADER.size :]) != digest:
        raise BuildError("the payload is damaged; build the plugin again with nylon-ring build-plugin")
    parts = []
    for offset, size, limit in zip(places[::2], places[1::2], (_MAX_BOOT, _MAX_MANIFEST, total), strict=True):
        if offset < _HEADER.size or offset + size > total or size > limit:
            raise BuildError("a part of the payload lies outside of it, or is larger than a host takes")
        parts.append(payload[offset : offset + size])
    return Payload(_boot(parts[0]), _manifest(parts[1]), unpack_archive(parts[2]), digest, signature)


def _digest(head: bytes, body: bytes) -> bytes:
    return hashlib.sha256(head + body).digest()


def _boot(record: bytes) -> dict[str, str]:
    strings = record.split(b"\0")
    if strings.pop() or len(strings) % 2 or not strings:
        raise BuildError("the payload's boot record is not made of pairs of strings")
    keys, values = strings[::2], strings[1::2]
    if (
        len(set(keys)) != len(keys)
        or len(keys) > _MAX_PAIRS
        or not all(0 < len(key) <= _MAX_KEY for key in keys)
        or any(len(value) > _MAX_VALUE for value in values)
    ):
        raise BuildError("the payload's boot record has a key twice, or more and longer strings than a host takes")
    return {os.fsdecode(key): os.fsdecode(value) for key, value in zip(keys, values, strict=True)}


def _manifest(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise BuildError(f"the plugin's manifest cannot be read as JSON: {type(error).__name__}: {error}") from None
    if not isinstance(found, dict):
        raise BuildError(f"the plugin's manifest is a {type(found).__name__}, not an object")
    _check_values(found)
    return found


def _check_values(manifest: dict[str, Any]) -> None:
    """Raises BuildError where the manifest holds more than a tool should have to show."""
    count, level = 0, [manifest]
    for _ in range(_MAX_NESTING):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and len(value) > _MAX_TEXT:
                raise BuildError(f"the plugin's manifest has a text of {len(value)} characters; {_MAX_TEXT} are taken")
        count += len(below)
        if count > _MAX_VALUES:
            raise BuildError(f"the plugin's manifest has more than {_MAX_VALUES} values")
        if not below:
            return
        level = below
    raise BuildError(f"the plugin's manifest is nested more than {_MAX_NESTING} deep")


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
