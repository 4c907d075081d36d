"""The suite itself: what is wrong is FAIL and exit code 1, whoever is wrong, and nothing hangs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from conformance import pair, run
from conformance.catalogue import HERE, Missing, build_python, our_hosts
from conformance.driver import Driver, DriverError

pytestmark = pytest.mark.long  # no Python runs in what is tested here

SAYS = "import sys; sys.stdin.readline(); "


@pytest.fixture(scope="module")
def good_driver() -> str:
    """The command of the C host's driver."""
    try:
        return " ".join(our_hosts()[0].command())
    except Missing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def good_plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The conformance plugin, as --plugin takes it."""
    folder = tmp_path_factory.mktemp("conformance")
    files = {name: build_python(HERE / f"{name}.py", folder) for name in ("plugin", "refuses", "plain")}
    return f"good={files['plugin']},refuses={files['refuses']},plain={files['plain']},abi=v1"


def results(report: Path) -> dict[str, set[str]]:
    """The cases by their result."""
    found: dict[str, set[str]] = {}
    for cell in json.loads(report.read_text()):
        found.setdefault(cell["result"], set()).add(f"{cell['theme']}/{cell['case']}")
    return found


def test_a_wrong_plugin_fails(good_driver: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = build_python(HERE / "wrong_plugin.py", tmp_path)
    report = tmp_path / "cells.json"
    wrong = {
        *("echo/echo", "requests/statuses", "state/set and get", "duplex/chat", "duplex/data at once"),
        *("streams/count", "streams/count fail", "streams/slow consumer", "streams/many at once"),
        *("traffic/stream storms", "traffic/duplex storms"),
    }
    for case in [*sorted(wrong), "echo/echo sync"]:
        spec = [
            "--host",
            f"c={good_driver}",
            "--plugin",
            f"wrong={plugin},abi=v1",
            "--case",
            case,
            "--json",
            str(report),
        ]
        code = run.main(spec)
        found = results(report)
        assert (case in found.get("FAIL", set())) is (case in wrong), found
        assert code == (1 if "FAIL" in found else 0)
    assert "FAIL wrong in c-v1: streams: count" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("lost_frame", "streams/count"),
        ("lost_frame", "requests/statuses"),
        ("swapped_frames", "streams/count"),
        ("second_reply", "requests/statuses"),
        ("other_bytes", "echo/huge bodies"),
        ("not_ended", "streams/count fail"),
        ("accepted_unknown", "requests/unknown entries"),
        ("lost_call", "traffic/storms"),
        ("wrong_call", "traffic/storms"),
        ("no_calls", "traffic/unloaded under load"),
        ("lost_call", "traffic/stream storms"),
        ("wrong_call", "traffic/duplex storms"),
        ("no_calls", "traffic/mixed storms"),
        ("growing", "traffic/mixed storms"),
        ("no_calls", "traffic/unloaded under mixed load"),
        ("broken_promise", "requests/statuses"),
        ("growing", "loading/loaded fifty times"),
        ("left_thread", "loading/loaded fifty times"),
        ("quiet_close", "streams/closed twice"),
        ("leaves", "requests/statuses"),
        ("crashes", "requests/statuses"),
        ("sanitizer", "loading/driver ends well"),
    ],
)
def test_a_wrong_driver_fails(
    fault: str, case: str, good_driver: str, good_plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "PATIENCE_S", 1.0)
    driver = f"{sys.executable} {HERE / 'wrong_driver.py'} {fault} {good_driver}"
    report = tmp_path / "cells.json"
    ran = "requests/statuses" if case == "loading/driver ends well" else case
    code = run.main(["--host", f"wrong={driver}", "--plugin", good_plugin, "--case", ran, "--json", str(report)])
    assert results(report)["FAIL"] >= {case}
    assert code == 1


def test_a_driver_that_ends_badly(good_driver: str, good_plugin: str) -> None:
    driver = f"{sys.executable} {HERE / 'wrong_driver.py'} bad_end {good_driver}"
    assert run.main(["--host", f"wrong={driver}", "--plugin", good_plugin, "--case", "requests/statuses"]) == 1


def test_a_good_driver_passes(good_driver: str, good_plugin: str, tmp_path: Path) -> None:
    report = tmp_path / "cells.json"
    code = run.main(
        ["--host", f"c={good_driver}", "--plugin", good_plugin, "--case", "requests/*", "--json", str(report)]
    )
    assert results(report).keys() == {"ok", "excused"}
    assert code == 0


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        ("sys.exit(3)", "died \\(exit code 3\\)"),
        ("print('hello yourself'); sys.stdin.read()", "no JSON object came"),
        ("print('[]'); sys.stdin.read()", "no JSON object came"),
        ("print('{}'); sys.stdin.read()", "without host, abi or cannot"),
        ("print('text of the end', file=sys.stderr); sys.exit(1)", "text of the end"),
    ],
)
def test_a_driver_that_does_not_speak(behaviour: str, complaint: str) -> None:
    command = [sys.executable, "-u", "-c", SAYS + behaviour]
    with pytest.raises(DriverError, match=complaint), Driver(command) as driver:
        driver.hello()


def test_a_silent_driver() -> None:
    with (
        pytest.raises(DriverError, match=r"said nothing for 0\.5 s at 'hello'"),
        Driver([sys.executable, "-c", "import sys; sys.stdin.read()"], grace_s=0.5) as driver,
    ):
        driver.hello(limit_s=0)


def test_a_driver_that_is_none() -> None:
    with pytest.raises(DriverError, match="does not start"):
        Driver("/nowhere/driver --quiet")
    assert run.main(["--host", "none=/nowhere/driver", "--plugin", f"p={__file__},abi=v1"]) == 1


def test_nothing_to_run_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["--case", "no/such case"])
    assert ended.value.code == 2
    text = tmp_path / "text.so"
    text.write_text("no plugin")
    with pytest.raises(SystemExit) as ended:
        run.main(["--plugin", f"p={text}"])
    assert ended.value.code == 2
