"""A phase of the soak test while it runs: plugins and lanes in the host, samples, and the account at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrhost import NrHost, Status
from soak.build import Files
from soak.lanes import PLUGINS, POOLS, Lane
from soak.plan import Phase

SAMPLE_S = 1.0
#: The host's own limit of what it is asked, in seconds: longer than NrHost waits, which looks at its threads first.
LIMIT = ("limit", 600)
KILL_S = 1.5
SIGNAL_S = 0.02


class Disagreement(Exception):
    """What the host, the plugin and this program count does not agree, or something was left behind."""


@dataclass
class Record:
    """What a phase has come to."""

    phase: Phase
    samples: list[dict[str, Any]] = field(default_factory=list)
    lanes: dict[str, dict[str, Any]] = field(default_factory=dict)
    ledgers: dict[str, dict[str, Any]] = field(default_factory=dict)
    rest: dict[str, int] = field(default_factory=dict)
    reloads: int = 0
    killed: int = 0
    signals: int = 0

    @property
    def calls(self) -> int:
        """Calls that were accepted."""
        return sum(int(lane["accepted"]) for lane in self.lanes.values())


def run_phase(host: NrHost, files: Files, phase: Phase, record: Record, started: float) -> None:
    """Run it to its end.

    Args:
        host: with nothing loaded.
        files: what to load.
        phase: what to do.
        record: filled as the phase goes on, so that it says how far it came.
        started: when the run began, of time.monotonic().

    Raises:
        Disagreement, HostError: the first thing that does not hold.
    """
    asked = _Asked(host)
    names = [*PLUGINS, *([POOLS] if any(lane.plugin == POOLS for lane in phase.lanes) else [])]
    for name in names:
        file, abi = (files.pools, "v1") if name == POOLS else (files.by_abi[PLUGINS[name]], PLUGINS[name])
        load_plugin(host, name, file, abi, phase.stream_capacity)
    for lane in phase.lanes:
        host.command("lane", lane_pairs(lane))
    end = time.monotonic() + phase.seconds
    churns = [
        host.command(
            "churn",
            [("async", 1), ("plugin", churn.plugin), ("drain", churn.drain), ("seed", churn.seed),
             ("seconds", phase.seconds)],
        )["job"]
        for churn in phase.churns
    ]  # fmt: skip
    with _faults(host.pid, phase, record):
        while time.monotonic() < end:
            time.sleep(max(0.0, min(SAMPLE_S, end - time.monotonic())))
            record.samples.append(_sample(host, asked, phase, time.monotonic() - started))
            _no_trouble(host, record.samples[-1])
    record.reloads = sum(int(host.join(job, limit=LIMIT[1])["reloads"]) for job in churns)
    stopped = host.command("lane_stop", [LIMIT])
    record.lanes = stopped["lanes"]
    _no_trouble(host, stopped)
    for lane in phase.lanes:
        check_lane(lane, record.lanes[lane.name])
    for name in names:
        mine = [record.lanes[lane.name] for lane in phase.lanes if lane.plugin == name and not lane.bad]
        accepted = sum(int(counts["accepted"]) for counts in mine) + asked.accepted.get(name, 0)
        record.ledgers[name] = check_ledger(host, name, accepted)
    host.malloc_trim()
    record.rest = dataclasses.asdict(_at_rest(host))


class _Asked:
    """The calls this program has made itself, which no lane has counted."""

    def __init__(self, host: NrHost) -> None:
        self._host = host
        self.accepted: dict[str, int] = {}
        self.refused: dict[str, int] = {}

    def stats(self, plugin: str) -> dict[str, Any] | None:
        """The plugin's own figures; None where it is just being reloaded."""
        call = self._host.call("stats", plugin=plugin, limit=LIMIT[1])
        counts = self.accepted if call.handle == Status.OK else self.refused
        counts[plugin] = counts.get(plugin, 0) + 1
        if call.handle != Status.OK or call.reply.status != Status.OK:
            return None
        found: dict[str, Any] = json.loads(call.reply.data or b"{}")
        return found


def load_plugin(host: NrHost, name: str, file: Path, abi: str, stream_capacity: int) -> None:
    """Load it with a ledger that forgets what is over, and keeps the last events."""
    pairs = [("path", file), ("plugin", name), ("abi", abi), ("forgets", 1), ("events", 1), LIMIT,
             ("stream_capacity", stream_capacity)]  # fmt: skip
    answer = host.command("load", pairs)
    if answer.get("init") != Status.OK:
        raise Disagreement(f"{file} was not loaded: {answer}")


def lane_pairs(lane: Lane) -> list[tuple[str, object]]:
    """What the verb `lane` is given."""
    fields = {key: value for key, value in dataclasses.asdict(lane).items() if key != "only" and value}
    return [("name", lane.name), *fields.items()]


def _sample(host: NrHost, asked: _Asked, phase: Phase, at_s: float) -> dict[str, Any]:
    sample = host.command("lanes", [LIMIT])
    stats = {plugin: asked.stats(plugin) for plugin in PLUGINS}
    totals = [found["stats"]["totals"] for found in stats.values() if found]
    return {
        "at_s": at_s,
        "phase": phase.number,
        "trouble": sample["trouble"],
        "lanes": sample["lanes"],
        **{key: sample[key] for key in ("rss_kib", "threads", "fds", "children")},
        "open": sum(ledger["open"] for ledger in sample["ledgers"].values()),
        "blocks": max((found["blocks"] for found in stats.values() if found), default=None),
        "queued": sum(total["queued"] for total in totals),
        "queue_age_s": max((total["queue_age_s"] for total in totals), default=None),
    }


def _no_trouble(host: NrHost, answer: dict[str, Any]) -> None:
    if answer["trouble"]:
        raise Disagreement(host.command("trouble")["first"])


def check_lane(lane: Lane, counts: dict[str, Any]) -> None:
    """Each call was accepted or refused, and each that was accepted was answered, or its receiver dropped."""
    asked, done = counts["accepted"] + counts["refused"], counts["replies"] + counts["dropped"]
    if counts["calls"] != asked or counts["accepted"] != done:
        raise Disagreement(f"lane {lane.name} does not add up: {counts}")


def check_ledger(host: NrHost, name: str, accepted: int) -> dict[str, Any]:
    """Unload a plugin; its ledger and the callers have counted apart from each other, and must agree.

    Args:
        host: where it is loaded.
        name: the plugin's.
        accepted: the callers' count.

    Returns:
        What the ledgers of all its instances say.
    """
    answer = host.command("unload", [("plugin", name), LIMIT])
    ledger: dict[str, Any] = answer["ledgers"]
    if answer["broken"] or not ledger["clean"] or ledger["open"] or ledger["accepted"] != ledger["terminals"]:
        raise Disagreement(f"plugin {name} broke its promise: {answer['broken']} {ledger}")
    if ledger["accepted"] != accepted:
        raise Disagreement(f"plugin {name}: the ledger has {ledger['accepted']} accepted calls, callers {accepted}")
    return ledger


def _at_rest(host: NrHost, limit_s: float = 10.0) -> Any:
    """The process with nothing loaded. A thread or child that has ended shows a moment longer."""
    deadline = time.monotonic() + limit_s
    last = host.process()
    steady = 0
    while steady < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
        now = host.process()
        steady = steady + 1 if (now.threads, now.fds, now.children) == (last.threads, last.fds, last.children) else 0
        last = now
    return last


@contextlib.contextmanager
def _faults(pid: int, phase: Phase, record: Record) -> Iterator[None]:
    """What is done to the host's process from outside while the phase runs."""
    over = threading.Event()

    def send_signals() -> None:
        while not over.wait(SIGNAL_S):
            with contextlib.suppress(ProcessLookupError):  # who waits for the host's answer tells of its end
                os.kill(pid, signal.SIGUSR1)
                record.signals += 1

    def kill_workers() -> None:
        while not over.wait(KILL_S):
            for child in _workers(pid)[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                    record.killed += 1

    threads = [threading.Thread(target=send_signals)] if phase.signals else []
    threads += [threading.Thread(target=kill_workers)] if phase.kills else []
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _workers(pid: int) -> list[int]:
    """The processes of the host's process pools."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread, or the child, has ended meanwhile
            children = [int(child) for child in file.read_text().split()]
            found += [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return found
