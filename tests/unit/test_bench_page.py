"""The page and the document of the figures."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.document import document, refusal
from benchmarks.document import main as document_command
from benchmarks.facts import HOSTS, told
from benchmarks.model import Case, Point, Row, Section, at_most
from benchmarks.page import page
from benchmarks.peers.build import PEERS
from benchmarks.report import as_json, sections_of
from benchmarks.rounds import Fault, Outcome
from benchmarks.svg import LABEL_WIDTH, Bar, Mark, bars, lines
from benchmarks.table import show, table

SVG = "{http://www.w3.org/2000/svg}"
FACTS: dict[str, Any] = {
    "sources": "v1.0-3-gabcdef0",
    "asked": {"only": "", "peers": list(PEERS), "hosts": list(HOSTS)},
    "python": "3.11.7",
    "other_pythons": ["3.12.1"],
    "libraries": {"tokio": "1.2.3"},
    "processor": "a processor",
    "cores": 2,
    "machine": "Linux",
    "share": 1.0,
    "quick": False,
    "taken": {"others": 0.01, "stolen": 0.0},
    "pinned": {"1": [1], "2": [0, 1]},
    "compilers": {"cc": "cc 12"},
    "hop_ns": {"min": 50.0, "max": 90.0},
    "hops_apart": 0.9,
}


def in_ns(value: float) -> str:
    return show(value, "ns")


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f".//{SVG}{name}")


def widths(given: Sequence[Bar], marks: Sequence[Mark] = ()) -> list[float]:
    return [float(rect.get("width", 0)) for rect in elements(bars("title", given, marks, in_ns), "rect")]


def test_bars_are_as_long_as_their_medians() -> None:
    ours, other = widths([Bar("ours", "ours", 100.0, 90.0, 120.0), Bar("Go", "go", 50.0, 50.0, 50.0)])
    assert ours == pytest.approx(2 * other, abs=0.2)


def test_a_bar_far_out_is_cut_and_says_so() -> None:
    given = [
        Bar("ours", "ours", 100.0, 100.0, 100.0),
        Bar("C", "c", 90.0, 90.0, 90.0),
        Bar("x", "other", 1e6, 1e6, 1e6),
    ]
    drawn = bars("title", given, [], in_ns)
    assert "//" in [text.text for text in elements(drawn, "text")]
    assert widths(given)[0] == pytest.approx(widths(given)[2] / 30, rel=0.01)


def test_the_spread_and_the_limits_are_drawn() -> None:
    given = [Bar("ours", "ours", 100.0, 90.0, 120.0), Bar("C", "c", 90.0, 90.0, 90.0)]
    drawn = elements(bars("a <title>", given, [Mark("≤ Go", 100.0, "limit-met")], in_ns), "line")
    assert [line.get("class") for line in drawn] == ["spread", "limit-met"]
    assert float(drawn[1].get("x1", 0)) == pytest.approx(LABEL_WIDTH + widths(given)[0], abs=0.2)


def test_lines_go_up_with_their_values_and_leave_out_what_was_not_measured() -> None:
    drawn = lines("title", ["a", "b", "c"], {"ours": ("ours", [10.0, None, 1000.0])}, in_ns)
    low, high = elements(drawn, "circle")
    assert float(low.get("cy", 0)) > float(high.get("cy", 0))
    assert [text.text for text in elements(drawn, "text")] == ["10 ns", "100 ns", "1.00 µs", "a", "b", "c"]


def report() -> dict[str, Any]:
    near = Row("near", "near <the> floor", "ns", (at_most(1.2, "floor"),), note="a note", obstacle="a wall")
    near.values = {"ours": [140.0, 130.0, 150.0], "floor": [100.0, 130.0], "go": [200.0, 210.0], "ours 3.12": [150.0]}
    near.values |= {"floor 3.12": [120.0]}
    near.calls = {"ours": 20_000}
    swept = [
        Row(f"body.{x}", f"echo of {x}", "ns", (), Point("by size", x), values={"ours": [value], "c": [value / 2]})
        for x, value in (("0 B", 100.0), ("1 MiB", 1e5))
    ]
    sections = [Section("calls", [Case([near], {}, 1)]), Section("bodies", [Case(swept, {}, 1)])]
    outcome = Outcome(rounds=3, took_s=600.0, faults=[Fault("near", "pyo3", "it fell <down>")])
    outcome.faults.append(Fault("", "cffi", "no such header"))
    made = as_json(sections, outcome, FACTS, {"rust": "no cargo on PATH"})
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


def test_what_was_written_can_be_read_again() -> None:
    written = report()
    near = sections_of(written)[0].rows[0]
    assert (near.medians["ours"], near.is_met, near.note, near.obstacle) == (140.0, False, "a note", "a wall")
    assert sections_of(written)[0].rows[0].calls == {"ours": 20_000}
    assert "140 ns [130…150]" in table(sections_of(written)[0])
    with pytest.raises(ValueError, match="schema 0"):
        sections_of({**written, "schema": 0})


def test_the_page_is_whole_by_itself() -> None:
    text = page(report(), ["a fact & more"])
    body = re.sub(r"<!doctype html>|<meta [^>]*>", "", text).replace("<br>", "<br/>")
    tree = ElementTree.fromstring(body)
    assert len(tree.findall(".//table")) == 2
    assert [svg.get("aria-label") for svg in tree.iter(f"{SVG}svg")] == ["near <the> floor", "by size"]
    words = " ".join(tree.itertext())
    wanted = "a fact & more", "≤ 1.2 x floor: MISSED", "rust: no cargo on PATH", "a note", "(≈ 1.22)", "20 k"
    faults = "near: pyo3 does not run: it fell <down>", "cffi does not build: no such header"
    for each in (*wanted, *faults, "near <the> floor: a wall", "Ahead of Go in 1 of 1 rows", "[130 ns … 150 ns]"):
        assert each in words
    assert "prefers-color-scheme: dark" in words
    assert not re.search(r"<script|<link|src=|href=|url\(|@import", text)


def test_the_document_says_what_was_met_and_what_was_not() -> None:
    text = document(report())
    assert "0 of 1 targets are met in the run below, 1 are missed." in text
    for heading in ("## calls", "## bodies", "## The other Pythons", "## Targets missed", "## Left out"):
        assert heading in text.splitlines()
    assert re.search(r"\| near +\| near <the> floor +\| 140 ns +\| ≤ 1.2 x floor, 138 ns +\|", text)
    assert "150 ns, floor 120 ns (1.25)" in text
    assert "- near <the> floor: a wall" in text.splitlines()
    for line in ("- rust: no cargo on PATH", "- near: pyo3 does not run", "- cffi does not build"):
        assert line in text.splitlines()
    assert "Ahead of Go in 1 of 1 rows" in text
    assert "Rust was not measured" in text
    assert "## Where Go is ahead" not in text
    assert "this run took 10 minutes" in text
    assert "- sources: v1.0-3-gabcdef0" in text.splitlines()
    assert "CPython 3.11.7, 3.12.1;" in text
    assert "- tokio 1.2.3" in text.splitlines()
    assert "OTHER PROCESSES" not in text


def test_the_document_of_a_run_on_a_busy_machine_says_so() -> None:
    written = report()
    written["facts"]["taken"]["others"] = 0.3
    text = document(written)
    assert "other processes had 30% of the cores" in text
    assert "OTHER PROCESSES HELD THE CORES" in text


def test_threads_that_are_seldom_on_two_cores_are_a_busy_machine() -> None:
    written = report()
    written["facts"]["hops_apart"] = 0.2
    assert "OTHER PROCESSES HELD THE CORES" in document(written)


def test_the_document_names_the_rows_in_which_go_is_ahead() -> None:
    written = report()
    written["sections"][0]["rows"][0]["values"]["go"]["rounds"] = [70.0, 80.0]
    text = document(written)
    assert "behind in 1" in text
    assert "## Where Go is ahead" in text.splitlines()
    assert re.search(r"\| near +\| near <the> floor +\| 140 ns \[130…150\] +\| 75 ns \[70…80\] +\| 1.87 ", text)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"asked": {"only": "c.", "peers": list(PEERS), "hosts": list(HOSTS)}}, "the rows whose key begins with c."),
        (
            {"asked": {"only": "", "peers": ["floor", "c", "rust", "go", "pyo3"], "hosts": ["c"]}},
            "without the hosts rust",
        ),
        ({"asked": {"only": "", "peers": [], "hosts": list(HOSTS)}}, f"without the peers {', '.join(PEERS)}"),
        ({"quick": True, "share": 0.2}, "a quick run"),
        ({"share": 0.5}, "0.5 of the calls"),
        ({"rounds": 1}, "a single round, which has no spread"),
    ],
)
def test_a_run_in_part_is_refused_a_document(changed: dict[str, Any], why: str) -> None:
    whole = {**FACTS, "rounds": 7, "took_s": 1.0}
    assert refusal(whole) == ""
    facts = {**whole, **changed}
    assert refusal(facts).endswith(why)
    if "asked" in changed:
        assert any(line.startswith("in part: ") for line in told(facts))


def test_the_command_writes_no_document_of_a_run_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, out = tmp_path / "bench.json", tmp_path / "document.md"
    monkeypatch.setattr(sys, "argv", ["document.py", str(figures), str(out)])
    written = report()
    figures.write_text(json.dumps(written))
    assert document_command() == 0
    assert out.read_text() == document(written)
    out.unlink()
    written["facts"]["asked"]["only"] = "c."
    figures.write_text(json.dumps(written))
    assert document_command() == 1
    assert "a document is of a whole run" in capsys.readouterr().err
    assert not out.exists()
