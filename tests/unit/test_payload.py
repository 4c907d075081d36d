"""The payload's bytes: the Python writer and the C reader agree, and the reader survives every damage."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from build_fixtures import compile_reader, compile_stub, run_reader

from nylon_ring_py.build.elf import ElfImage, add_payload
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import (
    decode_payload,
    encode_payload,
    pack_archive,
    read_payload,
    unpack_archive,
)

BOOT = {"name": "plug", "version": "1.0", "python": "/opt/pyth\udcffn"}
FILES = {"plug.py": b"x = 1\n", "empty": b"", "data/blob.bin": bytes(range(256)) * 40, "ünï.txt": b"u"}
HEADER, HASHED = 232, 72


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_stub(tmp_path_factory.mktemp("stub")).read_bytes()


@pytest.fixture(scope="module")
def payload() -> bytes:
    return encode_payload(BOOT, {"format": 1, "plugin": {"name": "plug"}}, pack_archive(FILES))


def test_round_trip(payload: bytes, stub: bytes, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub, payload))
    found = read_payload(plugin)
    assert found.boot == BOOT
    assert found.manifest == {"format": 1, "plugin": {"name": "plug"}}
    assert found.files == FILES


def test_archive_is_read_in_a_few_lines() -> None:
    archive = pack_archive(FILES)
    start = 4 + int.from_bytes(archive[:4], "little")
    fields = archive[4:start].decode().split("\0")
    for path, offset, size in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        assert archive[start + int(offset) : start + int(offset) + int(size)] == FILES[path]


def test_empty_archive() -> None:
    assert unpack_archive(pack_archive({})) == {}


def test_archive_does_not_depend_on_the_order_of_the_files() -> None:
    assert pack_archive(FILES) == pack_archive(dict(reversed(FILES.items())))


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a/../b", "a//b", "./a", "a\0b"])
def test_bad_paths(path: str) -> None:
    with pytest.raises(BuildError, match="cannot be a file's path"):
        pack_archive({path: b""})


@pytest.mark.parametrize("cut", [0, 3, 10, 60])
def test_damaged_archive(cut: int) -> None:
    with pytest.raises(BuildError, match=r"damaged|truncated"):
        unpack_archive(pack_archive(FILES)[:cut])


def test_nul_in_boot_record() -> None:
    with pytest.raises(BuildError, match="NUL"):
        encode_payload({"name": "a\0b"}, {}, pack_archive({}))


def test_read_payload_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_bytes(b"no ELF")
    with pytest.raises(BuildError, match=r"text\.so: not a 64-bit"):
        read_payload(path)


def _digested(payload: bytearray) -> None:
    payload[HASHED : HASHED + 32] = hashlib.sha256(payload[:HASHED] + payload[HEADER:]).digest()


def _put(format_: str, offset: int, value: object) -> Callable[[bytearray], None]:
    return lambda payload: struct.pack_into(format_, payload, offset, value)


def _boot_without_end(payload: bytearray) -> None:
    size = struct.unpack_from("<Q", payload, 32)[0]
    struct.pack_into("<Q", payload, 32, size - 1)
    _digested(payload)


def _odd_boot(payload: bytearray) -> None:
    payload[payload.index(0, HEADER)] = ord("x")
    _digested(payload)


DAMAGES: dict[str, tuple[Callable[[bytearray], None], str]] = {
    "magic": (_put("<8s", 0, b"NYLONXX\x01"), "magic"),
    "format": (_put("<I", 8, 1), "format 1"),
    "header size": (_put("<I", 12, 79), "79 bytes"),
    "total": (_put("<Q", 16, 81), "81 bytes"),
    "boot before header": (_put("<Q", 24, 8), "boot record"),
    "boot overflows": (_put("<Q", 32, 2**64 - 1), "boot record"),
    "manifest offset": (_put("<Q", 40, 2**64 - 16), "manifest"),
    "archive size": (_put("<Q", 64, 2**40), "archive"),
    "digest": (_put("<I", 72, 1), "SHA-256"),
    "a byte": (_put("<B", 300, 255), "SHA-256"),
    "a byte of the header": (_put("<Q", 64, 1), "SHA-256"),
    "boot end": (_boot_without_end, "pairs of strings"),
    "boot odd": (_odd_boot, "pairs of strings"),
}


@pytest.mark.parametrize(("damage", "text"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_told_by_the_c_reader(
    damage: Callable[[bytearray], None], text: str, payload: bytes, stub: bytes, reader: Path, tmp_path: Path
) -> None:
    damaged = bytearray(payload)
    damage(damaged)
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub, bytes(damaged)))
    done = run_reader(reader, plugin)
    assert done.returncode == 1, done.stderr
    assert text in done.stderr.decode()
    assert "nylon-ring build-plugin" in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    with pytest.raises(BuildError):
        decode_payload(bytes(damaged))


def _raw(boot: bytes, manifest: bytes = b"{}") -> bytes:
    """A payload whose digest is right, whatever is in it."""
    body = boot + manifest + pack_archive({})
    places = (HEADER, len(boot), HEADER + len(boot), len(manifest), HEADER + len(boot) + len(manifest), 4)
    payload = bytearray(struct.pack("<8sIIQQQQQQQ", b"NYLONPY\x01", 2, HEADER, HEADER + len(body), *places))
    payload += bytes(HEADER - HASHED) + body
    _digested(payload)
    return bytes(payload)


LIMITS = {
    "a long value": (_raw(b"name\0" + b"v" * 4096 + b"\0"), "a key of 4 bytes with a value of 4096"),
    "a long key": (_raw(b"k" * 65 + b"\0v\0"), "a key of 65 bytes"),
    "an empty key": (_raw(b"name\0plug\0\0v\0"), "a key of 0 bytes"),
    "a key twice": (_raw(b"name\0plug\0name\0plug\0"), "has the key 'name' twice"),
    "many pairs": (_raw(b"".join(b"k%d\0v\0" % i for i in range(65))), "has 65 pairs, at most 64"),
    "a long record": (_raw(b"name\0plug\0" + b"k\0" + b"v" * 65536 + b"\0"), "at most 65536 are taken"),
    "a long manifest": (_raw(b"name\0plug\0", b" " * (16 * 1024 * 1024 + 1)), "at most 16777216 are taken"),
}


@pytest.mark.parametrize(("payload", "text"), LIMITS.values(), ids=LIMITS.keys())
def test_more_than_a_host_takes(payload: bytes, text: str, stub: bytes, reader: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub, payload))
    done = run_reader(reader, plugin)
    assert (done.returncode, text in done.stderr.decode()) == (1, True), done.stderr
    with pytest.raises(BuildError, match=r"host takes"):
        decode_payload(payload)


def test_as_much_as_a_host_takes(stub: bytes, reader: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.so"
    boot = {f"{'k' * 62}{i:02}": "v" * 900 for i in range(63)} | {"name": "v" * 4095}
    plugin.write_bytes(add_payload(stub, encode_payload(boot, {}, pack_archive(FILES))))
    done = run_reader(reader, plugin)
    assert (done.returncode, done.stderr[:9]) == (0, b"name=vvvv")
    assert read_payload(plugin).boot == boot


def test_a_payload_of_more_than_a_gibibyte(payload: bytes, stub: bytes, reader: Path, tmp_path: Path) -> None:
    """Refused for its header, before any of it is copied: there is not that much behind it."""
    huge = bytearray(payload)
    struct.pack_into("<Q", huge, 16, 2**30 + 1)
    _digested(huge)
    image = bytearray(add_payload(stub, bytes(huge)))
    section = ElfImage(bytes(image)).find(".nylon.ref")
    assert section is not None
    struct.pack_into("<Q", image, section.offset + 24, 2**30 + 1)
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(image)
    done = run_reader(reader, plugin)
    assert done.returncode == 1
    assert b"at most 1073741824 are taken" in done.stderr


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        (b"[1]", "is a list, not an object"),
        (b"{", "cannot be read as JSON"),
        (b'{"a": "\xff"}', "cannot be read as JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be read as JSON: RecursionError"),
        (json.dumps({"a": _nested(40)}).encode(), "nested more than 32 deep"),
        (json.dumps({"a": "x" * 65_537}).encode(), "a text of 65537 characters"),
        (json.dumps({"x" * 65_537: 1}).encode(), "a text of 65537 characters"),
        (json.dumps({"a": [0] * (1 << 20)}).encode(), "more than 1048576 values"),
    ],
    ids=["list", "open", "utf-8", "deeper than Python", "deep", "text", "key", "values"],
)
def test_manifests_that_are_not_shown(manifest: bytes, text: str) -> None:
    with pytest.raises(BuildError, match=text):
        decode_payload(_raw(b"name\0plug\0", manifest))


def test_truncation_after_load_is_an_error_and_no_signal(stub: bytes, reader: Path, tmp_path: Path) -> None:
    payload = encode_payload(BOOT, {}, pack_archive({"blob": b"x" * 100_000}))
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub, payload))
    section = ElfImage(plugin.read_bytes()).find(".nylon.payload")
    assert section is not None
    for keep in (section.offset, section.offset + 4096, section.offset + 70_000):
        plugin.write_bytes(add_payload(stub, payload))
        done = run_reader(reader, plugin, str(keep))
        assert done.returncode == 1, (keep, done.stderr)
        assert b"truncated" in done.stderr


@pytest.mark.parametrize(("address", "size"), [(2**64 - 8, 200), (4096, 2**64 - 1), (2**63, 2**63), (2**40, 500)])
def test_impossible_reference(
    address: int, size: int, payload: bytes, stub: bytes, reader: Path, tmp_path: Path
) -> None:
    image = bytearray(add_payload(stub, payload))
    section = ElfImage(bytes(image)).find(".nylon.ref")
    assert section is not None
    struct.pack_into("<QQ", image, section.offset + 16, address, size)
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(image)
    done = run_reader(reader, plugin)
    assert done.returncode == 1, done.stderr
    assert b"impossible" in done.stderr or b"truncated" in done.stderr
