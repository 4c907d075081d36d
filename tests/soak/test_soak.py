"""The soak and overload tests by themselves: a short run of each holds, and what is wrong is found and left to see."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
from conftest import CORE_THREADS, BuildPlugin, StartHost, is_sanitized
from nrhost import ROOT
from soak import overload, plan, report, running, trend
from soak.build import HERE, Files
from soak.lanes import Lane
from soak.plan import Phase
from soak.run import Run, soak
from soak.running import Record

pytestmark = pytest.mark.long  # the plugins that are wrong are in C, whichever Python runs the suite

NRHOST = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost")))


@pytest.fixture(autouse=True)
def short_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is seen at the next sample."""
    monkeypatch.setattr(running, "SAMPLE_S", 0.05)


def test_a_short_run(tmp_path: Path) -> None:
    run = soak(seed=7, minutes=0.1, only=None, folder=tmp_path)
    assert run.fault == ""
    assert [record.phase.name for record in run.records] == list(plan.ROUND)
    assert run.reloads > 0
    assert all(record.calls > 0 for record in run.records)
    report.write(run, tmp_path / "report.md")
    assert "| promises broken | 0 |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report-latency.svg").read_text().startswith("<svg")


def test_a_plan_follows_from_its_seed() -> None:
    first, again, other = (plan.make(seed, 4) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [phase.number for phase in first] == list(range(8))
    assert sum(phase.seconds for phase in first) == pytest.approx(240)
    for phase in first:
        names = [lane.name for lane in phase.lanes]
        assert len(set(names)) == len(names)


def run_faulty(folder: Path, lane: Lane) -> Run:
    """One phase with lanes on a C plugin that breaks its promise in one call of a hundred thousand."""
    phase = Phase(3, "faulty", 60.0, (lane,))
    run = Run(seed=1, minutes=1, phases=[phase], folder=folder)
    faulty, faulty_raw = NRHOST.with_name("faulty.so"), NRHOST.with_name("faulty_raw.so")
    run.go(Files({"v1": faulty, "v1-raw": faulty_raw, "v2": faulty}, faulty))
    return run


@pytest.mark.parametrize(
    ("lane", "words"),
    [
        (Lane("lose_sync", door="fast", batch=256), r"call \w+ \(sid \d+\) was accepted and not answered"),
        (Lane("lose", window=64, batch=256, timeout=1), r"call \w+ \(sid \d+\) was accepted and not answered"),
        (
            Lane("twice", window=64, batch=256),
            r"plugin one: sid \d+: (a reply for a sid never used|reply 2 came after)",
        ),
        (Lane("twice_sync", door="fast_id", plugin="two"), r"plugin two: sid \d+: reply 2 came after the terminal one"),
        (Lane("garble", plugin="raw"), r"lane raw.garble.handle: call \w+ \(sid \d+\) got another answer than its own"),
        (Lane("mix_up", window=64, batch=256), r"plugin one: sid \d+: a reply for a sid never used"),
        (
            Lane("swap", kind="stream", body_size=32),
            r"lane one.swap.stream: call \w+ \(sid \d+\) got another answer than its own",
        ),
    ],
)
def test_a_broken_promise_is_found(tmp_path: Path, lane: Lane, words: str) -> None:
    run = run_faulty(tmp_path, lane)
    assert re.search(words, run.fault), run.fault
    finding = (tmp_path / "finding.md").read_text()
    assert run.fault in finding
    assert "make soak MINUTES=1 SEED=1 PHASE=3" in finding
    events = (tmp_path / "events.txt").read_text()
    assert re.search(r"sid \d+ handle returned Ok", events)
    if sid := re.search(r"sid (\d+)", run.fault):
        assert f"sid {sid[1]} " in events
    assert (tmp_path / "samples.json").stat().st_size > 0


def test_a_host_that_dies_is_found(tmp_path: Path, build: BuildPlugin) -> None:
    source = """
        import os, signal
        from nylon_ring_py import Plugin
        plugin = Plugin("dying")
        @plugin.handle_sync("die")
        def die(req):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    file = build(source, "dying")
    raw = build(source, "dying_raw", "--abi", "v1-raw")
    run = Run(seed=1, minutes=1, phases=[Phase(0, "dying", 60.0, (Lane("die"),))], folder=tmp_path)
    run.go(Files({"v1": file, "v1-raw": raw, "v2": file}, file))
    assert "the host died (SIGKILL)" in run.fault
    assert "SEED=1 PHASE=0" in (tmp_path / "finding.md").read_text()


def at_rest(number: int, **rest: int) -> Record:
    record = Record(Phase(number, "", 1.0, ()))
    record.rest = {"rss_kib": 30000, "threads": CORE_THREADS + 2, "fds": 4, "children": 0, **rest}
    return record


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ([{}] * 8, None),
        ([{"rss_kib": 30000 + 5000 * (i % 2)} for i in range(8)], None),
        ([{"rss_kib": 30000 + 1500 * i} for i in range(8)], "resident memory"),
        ([{"fds": 4}] * 7 + [{"fds": 5}], "fds"),
        ([{"threads": 4 + i // 6} for i in range(8)], "threads"),
        ([{}] * 7 + [{"children": 1}], "children"),
    ],
)
def test_what_grows_is_found(rest: list[dict[str, int]], fault: str | None) -> None:
    found = trend.faults([at_rest(number, **of) for number, of in enumerate(rest)])
    assert [text for text in found if fault is None or not text.startswith(fault)] == []
    assert bool(found) == (fault is not None)


@pytest.fixture(scope="module")
def overloaded(build_once: BuildPlugin) -> Path:
    return build_once(HERE / "overloaded.py", "overloaded")


def test_a_short_overload(start_host: StartHost, overloaded: Path, tmp_path: Path) -> None:
    result = overload.run(0.05, overloaded, start_host(), measure_s=0.5)
    verdicts = {verdict.what: verdict for verdict in overload.judge(result)}
    refused = [result.lanes[name]["refused"] for name in ("one.pooled.handle_many", "one.coroutine.handle_many")]
    assert min(refused) > 0
    for lane in overload.OTHERS:
        counts = result.lanes[lane.name]
        assert (counts["refused"], counts["failed"]) == (0, 0)
        assert counts["replies"] == counts["calls"] > 0
    if not is_sanitized("asan") and not is_sanitized("tsan"):
        assert verdicts["memory grows, KiB"].holds
    overload.write(result, list(verdicts.values()), tmp_path / "report.md")
    assert "one.coroutine.handle_many" in (tmp_path / "report.md").read_text()


def test_an_overload_that_tells_is_judged() -> None:
    """Figures that grow, one after the other, each fail what is measured by them."""
    names = [*(dataclasses.replace(lane, window=2).name for lane in overload.SERVED), *(
        lane.name for lane in overload.OTHERS)]  # fmt: skip

    def result(**worse: float) -> overload.Overload:
        made = overload.Overload(1, {lane.entry: 1000.0 for lane in overload.SERVED})
        for second in range(40):
            grown = {key: value * second for key, value in worse.items()}
            counts = {"calls": 10000 * second, "replies": 10000 * second}
            times = {"p50_us": 50 + grown.get("p50_us", 0), "p99_us": 100 + grown.get("p99_us", 0)}
            lanes = {name: {**counts, **times} for name in names}
            made.samples.append({"at_s": second, "rss_kib": 20000 + grown.get("rss_kib", 0), "lanes": lanes})
        refusal = worse.get("refused_us", 1)
        made.lanes = {name: {"p50_us": 50, "p99_us": 100, "refused_p99_us": refusal} for name in names}
        made.lanes[names[-1]]["p99_us"] *= worse.get("slow", 1)
        return made

    def failing(made: overload.Overload) -> set[str]:
        return {verdict.what.rpartition(": ")[2] for verdict in overload.judge(made) if not verdict.holds}

    assert failing(result()) == set()
    assert failing(result(rss_kib=200)) == {"memory grows, KiB"}
    assert failing(result(p99_us=10)) == {"p99 of the last quarter, of the first's"}
    assert failing(result(p50_us=5)) == {"p50 of the last quarter, of the first's"}
    assert failing(result(slow=2)) == {"p99, of the slowest entry's that is offered more"}
    assert failing(result(refused_us=40)) == {"p99 of a refusal, of an answer's p50"}
