"""What the tests of faults share."""

from __future__ import annotations

import pytest
from conftest import build_plugin, is_sanitized
from faults.bench import Bench
from faults.injector import build_injector
from faults.life import SOURCE


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    if is_sanitized("asan") or is_sanitized("tsan"):
        pytest.skip("a sanitizer's allocator and threads stand before the injector's")
    folder = tmp_path_factory.mktemp("faults")
    return Bench(build_plugin(SOURCE, folder / "fault_all.so"), build_injector(folder), folder)
