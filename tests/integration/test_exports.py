"""What the shipped files show to the dynamic linker: the ABI's functions, the core's table, and no libpython."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, BuildPlugin
from hosts.environments import describe, installed_stub


def exports(path: Path) -> set[str]:
    done = subprocess.run(["nm", "-D", "--defined-only", str(path)], check=True, capture_output=True, text=True)
    return {line.split()[-1].partition("@")[0] for line in done.stdout.splitlines()}


def needed(path: Path) -> list[str]:
    done = subprocess.run(["readelf", "-d", str(path)], check=True, capture_output=True, text=True)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout)


def without_sanitizers(names: set[str]) -> set[str]:
    return {name for name in names if not re.match(r"_*(asan|tsan|ubsan|odr_asan)", name)}


@pytest.fixture(scope="module")
def files(build_once: BuildPlugin) -> dict[str, Path]:
    return {
        "stub": installed_stub(),
        "v1": build_once(ROOT / "examples/hello.py", "v1"),
        "v1-raw": build_once(ROOT / "examples/hello.py", "v1_raw", "--abi", "v1-raw"),
        "core": Path(describe(sys.executable)["core"]),
    }


@pytest.mark.parametrize("name", ["stub", "v1", "v1-raw"])
def test_a_plugin_exports_the_abi_and_nothing_else(files: dict[str, Path], name: str) -> None:
    assert without_sanitizers(exports(files[name])) == {"nylon_ring_get_plugin", "nylon_ring_get_plugin_v1"}


def test_the_core_exports_its_table_and_its_module(files: dict[str, Path]) -> None:
    assert without_sanitizers(exports(files["core"])) == {"PyInit__core", "nrpy_core_table"}


@pytest.mark.parametrize("name", ["stub", "v1", "v1-raw", "core"])
def test_nothing_needs_libpython(files: dict[str, Path], name: str) -> None:
    assert "libc.so.6" in needed(files[name])
    assert [library for library in needed(files[name]) if "python" in library] == []


@pytest.mark.parametrize("name", ["stub", "v1", "v1-raw", "core"])
def test_nothing_names_folders_of_the_build_machine(files: dict[str, Path], name: str) -> None:
    done = subprocess.run(["readelf", "-d", str(files[name])], check=True, capture_output=True, text=True)
    assert re.findall(r"\((?:RUNPATH|RPATH)\).*", done.stdout) == []
