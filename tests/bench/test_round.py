"""`make bench` measures: one short round in the C host, real plugins and all. No figure is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.long
def test_a_round_fills_every_row_of_the_c_host(tmp_path: Path) -> None:
    figures, page = tmp_path / "bench.json", tmp_path / "bench.html"
    command = [sys.executable, "-P", str(ROOT / "benchmarks/run.py"), "--quick", "--rounds", "1", "--share", "0.001"]
    command += ["--only", "c.", "--hosts", "c", "--peers", "floor,c", "--folder", str(tmp_path / "built")]
    command += ["--json", str(figures), "--html", str(page)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    rows = {row["key"]: row["values"] for section in report["sections"] for row in section["rows"]}
    assert report["faults"] == []
    assert report["facts"]["rounds"] == 1
    assert {"c.sync", "c.raw", "c.submit_busy.p50", "c.throughput", "c.trip.p50", "c.gen"} <= rows.keys()
    assert set(rows["c.sync"]) == {"ours", "floor", "c"}
    assert all(found["median"] >= 0 and len(found["rounds"]) == 1 for row in rows.values() for found in row.values())
    nesting = Nesting()
    nesting.feed(page.read_text())
    assert nesting.open == []
    assert {"svg", "table"} <= nesting.seen
    assert "script" not in nesting.seen
