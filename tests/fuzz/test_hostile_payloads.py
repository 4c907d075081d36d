"""Archives, manifests and whole plugin files from nobody's builder: refused in words, and nothing of them is run.

`make fuzz` runs these with many more examples (HYPOTHESIS_PROFILE=fuzz).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from build_fixtures import REAL_STUB
from conftest import StartHost, build_plugin
from fuzz.hostile import BOOTS, CODE, MANIFESTS, Row, archives, honest_rows, payload
from fuzz.hostile import archive as encode_archive
from fuzz.profiles import examples
from hypothesis import example, given
from hypothesis import strategies as st
from nrhost import Abi, NrHost, Status

from nylon_ring_py._archive import read_archive
from nylon_ring_py._importer import PluginImporter
from nylon_ring_py.build.elf import add_payload, extract_payload
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import (
    decode_payload,
    encode_payload,
    pack_archive,
    read_payload,
    unpack_archive,
)

pytestmark = pytest.mark.long


def is_refused(archive: bytes) -> bool:
    """Whether the archive cannot be read; then it is said of what."""
    try:
        read_archive(archive)
    except ImportError as refusal:
        return "the plugin's archive" in str(refusal)
    return False


def reencoded(archive: bytes) -> bytes:
    """What the archive would be if all that was read of it were written again, in the same order."""
    files = {path: archive[at : at + size] for path, (at, size) in read_archive(archive).items()}
    return encode_archive(*honest_rows(files))


@examples(300)
@example(encode_archive([Row("main.py", "0", "00")], b""))
@example(encode_archive([Row("main.py", "\u0660", "0")], b""))
@given(archives() | st.binary(max_size=60))
def test_an_archive_is_read_in_one_way_or_refused(archive: bytes) -> None:
    if is_refused(archive):
        with pytest.raises(BuildError, match="the plugin's archive"):
            unpack_archive(archive)
        with pytest.raises(ImportError, match="the plugin's archive"):
            PluginImporter(archive, "hostile", "main", "/x.so")
    else:
        assert reencoded(archive) == archive
        files = unpack_archive(archive)
        assert unpack_archive(pack_archive(files)) == files  # the writer takes no path that leaves its folder


@examples(200)
@given(BOOTS | st.binary(max_size=40), MANIFESTS, archives(), st.integers(0, 500), st.binary(max_size=12))
def test_a_payload_is_decoded_or_refused(boot: bytes, manifest: bytes, body: bytes, at: int, damage: bytes) -> None:
    whole = payload(boot, manifest, body)
    for variant in (whole, whole[:at], whole[:at] + damage + whole[at + len(damage) :]):
        try:
            found = decode_payload(variant)
        except BuildError:
            continue
        assert isinstance(found.manifest, dict)
        assert decode_payload(encode_payload(found.boot, found.manifest, pack_archive(found.files))) == found


@pytest.fixture(scope="module")
def plugin_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    source = "from nylon_ring_py import Plugin\nplugin = Plugin('p')\nplugin.handle_sync('e')(lambda req: b'')\n"
    return build_plugin(source, tmp_path_factory.mktemp("hostile") / "good.so").read_bytes()


@examples(60)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(
    plugin_file: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    image = bytearray(plugin_file)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(
            st.integers(0, 0x400) | st.integers(0, len(image) - 1) | st.integers(len(image) - 4096, len(image) - 1)
        )
        new = data.draw(st.binary(min_size=1, max_size=8))
        image[at : at + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "damaged.so"
    path.write_bytes(image[: data.draw(st.none() | st.integers(0, len(image)))])
    with contextlib.suppress(BuildError):
        read_payload(path)


# ---- through the stub and the core, in a host ----


class Loader:
    """Loads files into one host, each from a path of its own: nothing may be taken for what was loaded before."""

    def __init__(self, host: NrHost, folder: Path, good: bytes) -> None:
        self._host, self._folder, self._count = host, folder, 0
        self._stub = REAL_STUB.read_bytes()
        #: Which Python is to run it, and a module that must not be run.
        self.boot = {**decode_payload(extract_payload(good)).boot, "module": "main", "object": "plugin"}

    def refused(self, whole: bytes) -> str:
        """Loads a plugin with this payload, which must be refused; what it said."""
        self._count += 1
        path = self._folder / f"hostile{self._count}.so"
        path.write_bytes(add_payload(self._stub, whole))
        said = len(self._host.stderr())
        abis: tuple[Abi, ...] = ("v1", "v2")
        for abi in abis:
            assert self._host.load(path, abi=abi, ledger=False) == Status.ERR
        path.unlink()
        words = self._host.stderr()[said:].decode(errors="replace")
        assert words.count(f"({path}) did not start: ") == len(abis), words
        assert "RAN" not in words
        return words


@pytest.fixture
def loader(start_host: StartHost, tmp_path: Path, plugin_file: bytes) -> Loader:
    return Loader(start_host(), tmp_path, plugin_file)


def pairs_of(boot: Mapping[str, str]) -> bytes:
    return b"".join(os.fsencode(f"{key}\0{value}\0") for key, value in boot.items())


@examples(25)
@given(archive=archives() | st.binary(max_size=60))
def test_no_code_of_a_damaged_archive_runs(loader: Loader, archive: bytes) -> None:
    if is_refused(archive):
        assert "the plugin's archive" in loader.refused(payload(pairs_of(loader.boot), b"{}", archive))


@examples(25)
@given(
    boot=BOOTS | st.binary(max_size=40),
    manifest=MANIFESTS,
    lost=st.sampled_from(
        ["module", "object", "python", "core", "prefix", "libpython", "python_version", "free_threaded"]
    ),
)
def test_a_boot_record_without_a_key_is_refused(loader: Loader, boot: bytes, manifest: bytes, lost: str) -> None:
    known = pairs_of({key: value for key, value in loader.boot.items() if key != lost})
    files = {"main.py": CODE, "plugin.py": CODE}
    assert "RAN" not in loader.refused(payload(boot + known, manifest, pack_archive(files)))


def test_the_code_of_an_honest_archive_runs(loader: Loader) -> None:
    """What the tests above look for would be seen."""
    whole = payload(pairs_of(loader.boot), b"{}", pack_archive({"main.py": CODE}))
    with pytest.raises(AssertionError, match="RAN"):
        loader.refused(whole)
