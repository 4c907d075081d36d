"""The stub's SHA-256 is SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from build_fixtures import TESTS, tool


def test_it_is_hashlib_s_for_every_length(tmp_path: Path) -> None:
    program = tmp_path / "sha256_of"
    sources = [str(TESTS / "unit/sha256_of.c"), str(TESTS.parent / "shim/sha256.c")]
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsanitize=undefined"]
    subprocess.run([tool("cc"), *flags, "-fno-sanitize-recover=all", "-o", program, *sources], check=True)
    data = bytes(number * 167 % 251 for number in range(1200))
    said = subprocess.run([program], input=data, check=True, capture_output=True).stdout.decode().split()
    assert said == [hashlib.sha256(data[:end]).hexdigest() for end in range(len(data) + 1)]
