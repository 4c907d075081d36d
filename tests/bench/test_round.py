"""`make bench` measures: short rounds in the C and the Rust hosts, real plugins and all. No figure is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import rust  # noqa: E402 -- a script, not an installed module

VOID = {"meta", "br"}


class Nesting(HTMLParser):
    """Holds a page to its tags being closed in the order they were opened, and to nothing coming from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not {name for name, _ in attributes} & {"src", "href"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def measure(folder: Path, *options: str, **environment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A round with a thousandth of the calls: the report, and of each row by its key the values."""
    figures = folder / "bench.json"
    command = [sys.executable, "-P", str(ROOT / "benchmarks/run.py"), "--quick", "--rounds", "1", "--share", "0.001"]
    command += ["--folder", str(folder / "built"), "--json", str(figures), "--html", str(folder / "bench.html")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(figures.read_text())
    rows = {row["key"]: row["values"] for section in report["sections"] for row in section["rows"]}
    assert report["faults"] == []
    assert all(found["median"] >= 0 and len(found["rounds"]) == 1 for row in rows.values() for found in row.values())
    return report, rows


@pytest.mark.long
def test_a_round_fills_every_row_of_the_c_host(tmp_path: Path) -> None:
    report, rows = measure(tmp_path, "--only", "c.", "--hosts", "c", "--peers", "floor,c")
    assert report["facts"]["rounds"] == 1
    # of so few calls there is no percentile but the middle one
    assert {"c.sync", "c.raw", "c.submit_busy.p50", "c.throughput", "c.trip.p50", "c.gen"} <= rows.keys()
    assert set(rows["c.sync"]) == {"ours", "floor", "c"}
    nesting = Nesting()
    nesting.feed((tmp_path / "bench.html").read_text())
    assert nesting.open == []
    assert {"svg", "table"} <= nesting.seen
    assert "script" not in nesting.seen


@pytest.mark.long
def test_a_round_fills_every_row_of_the_rust_hosts(tmp_path: Path) -> None:
    target = rust.build()
    if target is None:
        pytest.skip(rust.NO_CARGO)
    options = ("--only", "rust_", "--hosts", "rust", "--peers", "floor,c")
    report, rows = measure(tmp_path, *options, NRRUST=str(target))
    assert report["facts"]["libraries"].keys() == {"tokio", "nylon-ring-host"}
    v1 = {f"rust_v1.{name}" for name in ("unary", "raw", "fast", "frame", "frame_worker", "pool")}
    v2 = {f"rust_v2.{name}" for name in ("raw", "sync", "id", "bytes", "fast", "long", "long_bytes", "long_borrow")}
    assert v1 | v2 | {"rust_v2.pool", "rust_v2.frame"} == rows.keys()
    assert all({"ours", "c"} <= values.keys() for values in rows.values())


@pytest.mark.long
def test_a_round_fills_the_rows_of_streams_both_ways(tmp_path: Path) -> None:
    _, rows = measure(tmp_path, "--only", "duplex", "--hosts", "c", "--peers", "none")
    assert rows.keys() == {"duplex.async_echo.1", "duplex.async_echo.64"}
    assert all("ours" in values for values in rows.values())
