"""The command of `make bench`: which rows it takes, and what it says of those that fail."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks import run
from benchmarks.builds import Built
from benchmarks.facts import Asked
from benchmarks.measure import BenchError
from benchmarks.model import Case, Row, Section
from benchmarks.tools import Tools


def section(title: str, *keys: str, quick: bool = True) -> Section:
    return Section(title, [Case([Row(key, "title", "ns")], {}, 1, quick=quick) for key in keys])


def sections() -> list[Section]:
    return [section("calls", "c.sync", "c.trip.p50", "c.trip.p99"), section("long", "codec.json", quick=False)]


def keys(found: list[Section]) -> list[str]:
    return [row.key for each in found for row in each.rows]


def test_rows_are_taken_by_how_their_keys_begin() -> None:
    assert keys(run.chosen(sections(), Asked("c.trip"), quick=False)) == ["c.trip.p50", "c.trip.p99"]
    assert keys(run.chosen(sections(), Asked(), quick=False)) == ["c.sync", "c.trip.p50", "c.trip.p99", "codec.json"]
    assert keys(run.chosen(sections(), Asked("c"), quick=True)) == ["c.sync", "c.trip.p50", "c.trip.p99"]


def test_rows_are_those_of_the_hosts_that_are_wanted() -> None:
    both = [*sections(), section("Rust", "rust_v1.raw")]
    assert keys(run.chosen(both, Asked(hosts=("rust",)), quick=False)) == ["rust_v1.raw"]
    assert "c.sync" in keys(run.chosen(both, Asked(hosts=("c", "rust")), quick=False))
    with pytest.raises(BenchError, match="there are: none"):
        run.chosen(sections(), Asked(hosts=("rust",)), quick=False)


@pytest.mark.parametrize(("text", "quick"), [("nosuchrow", False), ("codec", True)])
def test_a_text_that_no_key_begins_with_is_an_error_that_names_what_there_is(text: str, quick: bool) -> None:
    with pytest.raises(BenchError, match=f"begins with '{text}'; there are: c.sync, c.trip"):
        run.chosen(sections(), Asked(text), quick)


def test_names_may_be_none_of_them_and_unknown_ones_are_refused() -> None:
    read = run._names(("c", "go"))
    assert (read("go,c"), read("none")) == (("go", "c"), ())
    with pytest.raises(ArgumentTypeError, match="rust: there are c, go, or none"):
        read("rust")


def test_a_peer_that_does_not_build_is_in_the_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(folder: Path, wanted: object) -> Built:
        tools = Tools(Path("host"), None, {}, Path("loop.so"), folder)
        return Built(tools, faults={"go": "main.go:1: no such import"})

    monkeypatch.setattr(run, "prepare", prepare)
    monkeypatch.setattr(run, "every_section", lambda tools: sections())
    figures = tmp_path / "bench.json"
    assert run.main(["--rounds", "1", "--json", str(figures)]) == 1
    assert '"contestant": "go"' in figures.read_text()
    assert "go does not build: main.go:1: no such import" in capsys.readouterr().err
    figures.unlink()
    assert run.main(["--only", "nosuchrow", "--json", str(figures)]) == 1
    assert not figures.exists()
