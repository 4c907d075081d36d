"""The writer of plugin images: what it makes loads, and keeps its payload through every common ELF tool."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from build_fixtures import REAL_STUB, compile_reader, compile_stub, run_reader, tool

from nylon_ring_py.build.elf import ElfImage, add_payload, extract_payload
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import encode_payload, pack_archive

TOOLS = {
    "untouched": [],
    "strip": ["strip"],
    "strip -s": ["strip", "-s"],
    "strip --strip-all": ["strip", "--strip-all"],
    "strip --strip-unneeded": ["strip", "--strip-unneeded"],
    "strip -g": ["strip", "-g"],
    "objcopy": ["objcopy"],
    "objcopy --strip-debug": ["objcopy", "--strip-debug"],
    "llvm-strip": ["llvm-strip"],
    "llvm-strip --strip-unneeded": ["llvm-strip", "--strip-unneeded"],
    "llvm-objcopy": ["llvm-objcopy"],
    "patchelf --set-rpath": ["patchelf", "--set-rpath", "/opt/somewhere/with/a/long/name/lib:$ORIGIN/../lib"],
}
STUBS = ["plain", "debug", "stripped"] + (["real"] if REAL_STUB.exists() else [])


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module", params=STUBS)
def stub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "real":
        return REAL_STUB
    path = compile_stub(tmp_path_factory.mktemp("stub"), *(["-g"] if request.param == "debug" else []))
    if request.param == "stripped":
        subprocess.run([tool("strip"), str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def payload() -> bytes:
    files = {"plug.py": b"print('here')\n" * 500, "noise.bin": os.urandom(20_000)}
    return encode_payload({"name": "plug", "version": "1"}, {"format": 1}, pack_archive(files))


@pytest.mark.parametrize("command", TOOLS.values(), ids=TOOLS.keys())
def test_payload_survives(stub: Path, payload: bytes, reader: Path, tmp_path: Path, command: list[str]) -> None:
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub.read_bytes(), payload))
    if command:
        subprocess.run([tool(command[0]), *command[1:], str(plugin)], check=True)
    assert extract_payload(plugin.read_bytes()) == payload
    done = run_reader(reader, plugin)
    assert (done.returncode, done.stdout) == (0, payload), done.stderr
    assert b"name=plug missing=no" in done.stderr
    if stub != REAL_STUB:
        assert ctypes.CDLL(str(plugin)).answer() == 42


@pytest.mark.parametrize("chain", [["strip", "patchelf"], ["patchelf", "strip"], ["strip", "strip"]], ids="-".join)
def test_payload_survives_two_tools(stub: Path, payload: bytes, reader: Path, tmp_path: Path, chain: list[str]) -> None:
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub.read_bytes(), payload))
    for name in chain:
        arguments = ["--set-rpath", "/opt/lib"] if name == "patchelf" else []
        subprocess.run([tool(name), *arguments, str(plugin)], check=True)
    assert run_reader(reader, plugin).stdout == payload


def test_every_reference_to_a_section_still_names_it(stub: Path, payload: bytes) -> None:
    before, after = ElfImage(stub.read_bytes()), ElfImage(add_payload(stub.read_bytes(), payload))

    def links(image: ElfImage) -> dict[str, str]:
        return {s.name: image.sections[s.link].name for s in image.sections if s.name != ".nylon.payload"}

    assert links(before) == links(after)
    addresses = [s.address for s in after.sections if s.flags & 2]
    assert addresses == sorted(addresses)
    loads = [s for s in after.segments if s.type == 1]
    assert [s.address for s in loads] == sorted(s.address for s in loads)
    assert all(s.offset % 4096 == s.address % 4096 for s in loads)


def test_symbols_stay_in_their_sections(tmp_path: Path, payload: bytes) -> None:
    stub = compile_stub(tmp_path).read_bytes()

    def homes(image: ElfImage) -> dict[str, str]:
        table, names = image.find(".symtab"), image.find(".strtab")
        assert table is not None
        assert names is not None
        found = {}
        for at in range(0, table.size, 24):
            name, section = struct.unpack_from("<IxxH", image.content(table), at)
            if 0 < section < 0xFF00:
                text = image.content(names)[name:].partition(b"\0")[0].decode()
                found[text] = image.sections[section].name
        return found

    before, after = homes(ElfImage(stub)), homes(ElfImage(add_payload(stub, payload)))
    assert before == after
    assert after["unmapped_marker"] == ".unmapped"


def test_readelf_finds_nothing_to_complain_about(stub: Path, payload: bytes, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub.read_bytes(), payload))
    done = subprocess.run([tool("readelf"), "-aW", str(plugin)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert ".nylon.payload" in done.stdout
    symbols = subprocess.run([tool("nm"), "-a", str(plugin)], capture_output=True, text=True, check=True)
    assert symbols.stderr.replace(f"{tool('nm')}: {plugin}: no symbols\n", "") in ("", f"nm: {plugin}: no symbols\n")


def test_large_payload(tmp_path: Path, reader: Path) -> None:
    stub = compile_stub(tmp_path)
    payload = encode_payload({"name": "big"}, {}, pack_archive({"big": os.urandom(3_000_001)}))
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub.read_bytes(), payload))
    assert run_reader(reader, plugin).stdout == payload


def test_not_a_stub(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(BuildError, match="not a 64-bit little-endian ELF file"):
        add_payload(b"#!/bin/sh\n" * 20, payload)
    library = tmp_path / "other.so"
    source = tmp_path / "other.c"
    source.write_text("int f(void) { return 1; }")
    subprocess.run([tool("cc"), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    with pytest.raises(BuildError, match=r"no section \.nylon\.ref"):
        add_payload(library.read_bytes(), payload)


def test_second_payload_is_refused(stub: Path, payload: bytes) -> None:
    built = add_payload(stub.read_bytes(), payload)
    with pytest.raises(BuildError, match="has a payload already"):
        add_payload(built, payload)


def test_stub_with_other_notes_is_refused(tmp_path: Path, payload: bytes) -> None:
    stub = compile_stub(tmp_path, "-Wl,--build-id=sha1")
    with pytest.raises(BuildError, match="compile the stub with --build-id=none"):
        add_payload(stub.read_bytes(), payload)


@pytest.mark.parametrize("keep", [40, 64, 300, 5000])
def test_truncated_stub_is_refused(tmp_path: Path, payload: bytes, keep: int) -> None:
    with pytest.raises(BuildError, match=r"truncated|not a 64-bit"):
        add_payload(compile_stub(tmp_path).read_bytes()[:keep], payload)


def test_bare_stub_has_no_payload_to_extract(tmp_path: Path, reader: Path) -> None:
    stub = compile_stub(tmp_path)
    with pytest.raises(BuildError, match="bare stub"):
        extract_payload(stub.read_bytes())
    done = run_reader(reader, stub)
    assert done.returncode == 1
    assert b"bare stub" in done.stderr
    assert b"nylon-ring build-plugin" in done.stderr


def test_copies_are_independent(stub: Path, payload: bytes, tmp_path: Path, reader: Path) -> None:
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(stub.read_bytes(), payload))
    copy = tmp_path / "copy.so"
    shutil.copy(plugin, copy)
    plugin.unlink()
    assert run_reader(reader, copy).stdout == payload
