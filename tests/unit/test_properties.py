"""What holds for every input: what is packed comes out again, and headers keep what the host passed."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nylon_ring_py._archive import read_archive
from nylon_ring_py.build.payload import decode_payload, encode_payload, pack_archive, unpack_archive
from nylon_ring_py.request import Headers

# No assertion on elapsed time: neither on an example's, nor on that of finding some.
TIMELESS: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=50, derandomize=True, database=None, **TIMELESS)
settings.register_profile("expensive", max_examples=5000, **TIMELESS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16)
PARTS = st.text(st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\\/"), min_size=1, max_size=12)
FOLDERS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), max_size=2)
PATHS = st.builds(lambda folders, name: "/".join([*folders, f"{name}.x"]), FOLDERS, PARTS)


def _is_no_file_a_folder(files: dict[str, bytes]) -> bool:
    return not any(other.startswith(f"{path}/") for path in files for other in files)


FILES = st.dictionaries(PATHS, st.binary(max_size=200), max_size=8).filter(_is_no_file_a_folder)
BOOT = st.dictionaries(
    NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40), min_size=1, max_size=8
)
TOKENS = st.text("abcXYZ-09", min_size=1, max_size=12)
PAIRS = st.lists(st.tuples(TOKENS.map(str.encode), st.binary(max_size=30)), max_size=12)


@given(FILES)
def test_an_archive_gives_back_every_file(files: dict[str, bytes]) -> None:
    archive = pack_archive(files)
    assert unpack_archive(archive) == files
    places = read_archive(archive)  # the reader of the run time agrees with that of the tools
    assert {path: archive[start : start + size] for path, (start, size) in places.items()} == files


@given(BOOT, st.dictionaries(NAMES, st.integers() | NAMES, max_size=5), FILES)
def test_a_payload_gives_back_its_parts(
    boot: dict[str, str], manifest: dict[str, object], files: dict[str, bytes]
) -> None:
    payload = decode_payload(encode_payload(boot, manifest, pack_archive(files)))
    assert payload.boot == boot
    assert json.loads(json.dumps(payload.manifest)) == manifest
    assert payload.files == files


@given(PAIRS)
def test_headers_keep_order_and_repeats_and_take_names_in_any_case(pairs: list[tuple[bytes, bytes]]) -> None:
    headers = Headers(pairs)
    assert headers.raw == pairs
    assert len(headers) == len(pairs)
    for name, _ in pairs:
        expected = [value for key, value in pairs if key.lower() == name.lower()]
        for spelling in (name.decode().lower(), name.decode().upper(), name.decode()):
            assert [text.encode("utf-8", "surrogateescape") for text in headers.get_all(spelling)] == expected
            assert headers[spelling] == headers.get_all(spelling)[0]
