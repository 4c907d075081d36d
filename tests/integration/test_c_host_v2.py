"""The C host over ABI v2: what it answers to a plugin's sends, and which broken promises it notices."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import until  # noqa: E402
from nrhost import Abi, HostError, NrHost, Status  # noqa: E402

pytestmark = pytest.mark.long  # no Python runs in what is tested here

OUT = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost"))).parent
PLUGIN = OUT / "conformance.so"
PROBE = OUT / "v2_probe.so"
UNKNOWN = 0xFFFFFFFF
ABIS: list[Abi] = ["v1", "v1-raw", "v2"]


def built(name: str, abi: Abi) -> Path:
    """The C plugin of that name, with the functions of that ABI."""
    return OUT / f"{name}{'_raw' if abi == 'v1-raw' else ''}.so"


@pytest.fixture
def host() -> Iterator[NrHost]:
    with NrHost() as running:
        assert running.load(PLUGIN, abi="v2") == Status.OK
        yield running


@pytest.fixture
def probe() -> Iterator[NrHost]:
    with NrHost() as running:
        assert running.load(PROBE, abi="v2") == Status.OK
        yield running


@pytest.fixture
def broken() -> Iterator[NrHost]:
    """A host whose plugin will break its promise."""
    with NrHost(clean=False) as running:
        assert running.load(PROBE, abi="v2", stream_capacity=2) == Status.OK
        yield running


def said(host: NrHost) -> str:
    """What the probe has heard from the host since it was asked last."""
    return host.call("said").reply.text


def tally(host: NrHost) -> tuple[int, int, int]:
    """Buffers the plugin has sent, that were released, and released once too often."""
    found = re.fullmatch(r"sent (\d+) released (\d+) twice (\d+)", host.call("owned_tally").reply.text)
    assert found
    return int(found[1]), int(found[2]), int(found[3])


# ---- loading ----


@pytest.mark.parametrize("abi", ABIS)
def test_driver_says_what_it_speaks_and_loads_it(abi: Abi) -> None:
    with NrHost() as host:
        hello = host.command("hello")
        assert (hello["abi"], hello["cannot"]) == (ABIS, {})
        assert host.load(built("conformance", abi), abi=abi) == Status.OK
        info = host.info()
        assert (info["name"], info["version"]) == ("conformance", "1.0.0")
        assert info["abi_version"] == (2 if abi == "v2" else 1)
        assert host.call("echo", body=b"there").reply.text == "there"


def test_what_is_no_plugin_of_the_abi_is_refused() -> None:
    with NrHost() as host:
        with pytest.raises(HostError, match="no symbol nylon_ring_get_plugin; is it a nylon-ring v2 plugin"):
            host.load(OUT / "c_plugin.so", abi="v2")
        with pytest.raises(HostError, match="there is no ABI v3"):
            host.command("load", [("path", PLUGIN), ("abi", "v3")])


@pytest.mark.parametrize("abi", ABIS)
def test_a_failed_init_is_followed_by_shutdown_in_v1_only(abi: Abi) -> None:
    with NrHost() as host:
        assert host.load(built("refuses", abi), abi=abi) == Status.ERR
        answer = host.command("load", [("path", built("refuses", abi)), ("abi", abi)])
        assert (answer["init"], "init answered Err" in answer["error"]) == (Status.ERR, True)
        assert (b"shutdown out of turn" in host.stderr()) == (abi != "v2")


def test_out_of_turn() -> None:
    with NrHost() as host:
        assert host.load(PLUGIN, abi="v2", get_only=True) is None
        assert host.call("echo").handle == Status.INVALID
        assert host.init() == Status.OK
        assert host.init() == Status.INVALID
        assert host.call("echo").reply.status == Status.OK
        host.shutdown()
        assert host.call("echo").handle == Status.INVALID


def test_instances_of_one_file_are_told_apart(host: NrHost) -> None:
    names = [f"plugin {n}" for n in range(8)]
    for name in names:
        assert host.load(PLUGIN, abi="v2", plugin=name) == Status.OK
    held = {name: host.submit("held", sid=7, body=name.encode(), plugin=name).sid for name in names}
    for name in names:
        assert host.call("let_go", plugin=name).reply.text == "1"
        assert host.wait(held[name], plugin=name).reply.text == name


def test_ctx_is_none_of_v2_s(host: NrHost) -> None:
    with pytest.raises(HostError, match="ctx= is for v1"):
        host.call("echo", ctx="null")


# ---- doors ----


def test_by_id(host: NrHost) -> None:
    assert host.call("echo", door="id", body=b"numbered").reply.text == "numbered"
    assert host.resolve("echo") != host.resolve("echo_sync")
    assert host.call("echo_sync", door="id", id=host.resolve("fail_sync")).reply.status == Status.ERR
    assert host.resolve("no such entry") == UNKNOWN
    assert host.call("no such entry", door="id").handle == Status.INVALID
    assert host.stream("count", door="id", body=b"2").data == [b"0", b"1", b""]


def test_numbers_are_none_of_v1_s() -> None:
    with NrHost() as host:
        host.load(PLUGIN)
        assert host.resolve("echo") == UNKNOWN
        assert host.call("echo", door="id").handle == Status.UNSUPPORTED


@pytest.mark.parametrize("door", ["handle", "fast", "id"])
@pytest.mark.parametrize("entry", ["echo_sync", "echo_owned", "echo_vector", "echo_lease"])
@pytest.mark.parametrize("keep_owned", [False, True])
def test_each_way_of_sending_through_each_door(entry: str, door: str, keep_owned: bool) -> None:
    with NrHost() as host:
        host.load(PLUGIN, abi="v2", keep_owned=keep_owned)
        for body in (b"", b"bytes\0", bytes(range(256)) * 1024):
            call = host.call(entry, body=body, door=door, full=True)  # type: ignore[arg-type]
            assert (call.reply.status, call.reply.data or b"", call.ended) == (Status.OK, body, True)
        sent, released, twice = tally(host)
        assert (released, twice) == (sent, 0)
        assert sent == (3 if entry in ("echo_owned", "echo_vector") else 0)


def test_fast_slot_compares_sids(broken: NrHost) -> None:
    held = broken.submit("held").sid
    assert broken.call("stranger", door="fast", body=b"%d" % held).reply.text == "mine"
    assert broken.wait(held).reply.text == "from a stranger"
    assert broken.ledger().strangers == 1


# ---- whose bytes ----


def test_an_owned_reply_outlives_the_plugin() -> None:
    body = os.urandom(100_000)
    with NrHost() as host:
        host.load(PLUGIN, abi="v2", keep_owned=True)
        host.call("echo_owned", body=body, keep=True)
        host.call("echo_owned", body=body, keep=True, door="fast")
        assert tally(host) == (2, 0, 0)
        host.unload()
        frames = host.free_frames()
        assert [frame.crc32 for frame in frames] == [zlib.crc32(body)] * 2
        host.load(PLUGIN, abi="v2")
        assert tally(host) == (2, 2, 0)


def test_an_owned_reply_is_released_at_once_unless_kept(host: NrHost) -> None:
    host.call("echo_owned", body=b"x", keep=True)
    assert tally(host) == (1, 1, 0)
    assert [frame.data for frame in host.free_frames()] == [b"x"]


@pytest.mark.parametrize("keep_owned", [False, True])
@pytest.mark.parametrize("entry", ["echo_owned", "echo_vector"])
def test_a_refused_buffer_is_released_once(entry: str, keep_owned: bool) -> None:
    with NrHost() as host:
        host.load(PLUGIN, abi="v2", keep_owned=keep_owned)
        host.fire(entry, body=b"for nobody")
        assert tally(host) == (1, 1, 0)


@pytest.mark.parametrize("keep_owned", [False, True])
def test_frames_nobody_took_are_released(keep_owned: bool) -> None:
    with NrHost() as host:
        host.load(PROBE, abi="v2", keep_owned=keep_owned, stream_capacity=0)
        sid = host.submit("flood", kind="stream", body=b"10").sid
        assert said(host) == "taken 10 refused 0"
        host.drop(sid)


# ---- leases ----


@pytest.mark.parametrize("door", ["handle", "fast"])
def test_a_lease_is_checked(probe: NrHost, door: str) -> None:
    assert probe.call("lease", door=door).reply.text == "ABCDE"  # type: ignore[arg-type]
    assert said(probe) == "first 1 second 0 token 2 length 2 good 0"
    assert probe.leases() == 0


def test_no_lease_for_a_stream_or_a_stranger(probe: NrHost) -> None:
    probe.stream("lease_stream")
    assert said(probe) == "stream 0"
    probe.call("lease_unknown")
    assert said(probe) == "unknown 0 huge 0"
    assert probe.leases() == 0


def test_a_lease_may_come_back_later(probe: NrHost) -> None:
    sid = probe.submit("lease_late").sid
    assert probe.leases() == 1
    probe.call("lease_commit")
    assert said(probe) == "late 0 again 2"
    assert probe.wait(sid).reply.data == b"L" * 64


def test_an_abandoned_lease_is_kept_until_it_comes_back(probe: NrHost) -> None:
    sid = probe.submit("lease_late").sid
    probe.drop(sid)
    assert probe.leases() == 1
    probe.call("lease_commit")
    assert said(probe) == "late 2 again 2"
    assert probe.leases() == 0


def test_an_abandoned_lease_is_not_for_the_next_call_of_that_sid(probe: NrHost) -> None:
    probe.submit("lease_late", sid=9)
    probe.drop(9)
    probe.submit("held", sid=9)
    probe.call("lease_commit")
    assert said(probe) == "late 2 again 2"
    probe.shutdown()
    assert probe.wait(9).reply.text == "shutting down"


def test_a_lease_that_is_never_used_stays_until_shutdown(probe: NrHost) -> None:
    assert probe.call("lease_unused").reply.text == "otherwise"
    assert probe.call("lease_unused", door="fast").reply.text == "otherwise"
    assert probe.leases() == 2
    probe.shutdown()
    assert probe.leases() == 0


# ---- what sends are answered ----


def test_a_delivered_reply_is_answered_ok(probe: NrHost) -> None:
    assert probe.call("answer").reply.text == "x"
    assert said(probe) == str(int(Status.OK))


def test_a_fired_call_s_reply_is_answered_invalid(probe: NrHost) -> None:
    fired = probe.fire("answer")
    assert fired.handle == Status.OK
    assert said(probe) == str(int(Status.INVALID))
    assert (probe.ledger().terminals, probe.ledger().open) == (2, 0)


def test_a_call_given_up_is_answered_invalid(host: NrHost) -> None:
    sid = host.submit("held").sid
    assert host.wait(sid, timeout=0.01).timed_out
    host.drop(sid)
    assert host.ledger().open == 1
    host.call("let_go")
    until(lambda: host.ledger().open == 0)


def test_a_dropped_receiver_stops_the_stream_at_its_next_send(host: NrHost) -> None:
    sid = host.submit("endless", kind="stream").sid
    assert host.wait(sid, frames=2).data == [b"0", b"1"]
    host.drop(sid)
    until(lambda: host.call("ended").reply.text == "1")


def test_a_dropped_receiver_is_no_call_to_a_v2_plugin(host: NrHost) -> None:
    sid = host.submit("chat", kind="stream", body=b"you").sid
    assert host.wait(sid, frames=1).data == [b"hello you"]
    host.drop(sid)
    assert host.stream_data(sid, b"still open") == Status.OK
    until(lambda: host.stream_data(sid, b"once more") == Status.INVALID)  # the plugin has been told, and has noted it
    assert host.ledger().open == 0


@pytest.mark.parametrize(("capacity", "taken"), [(None, 64), (1, 1), (5, 5)])
def test_a_full_stream_is_answered_backpressure(capacity: int | None, taken: int) -> None:
    with NrHost() as host:
        host.load(PLUGIN, abi="v2", stream_capacity=capacity)
        sid = host.submit("count", kind="stream", body=b"200").sid
        until(lambda: host.ledger().backpressure >= 3)
        until(lambda: host.ledger().replies == taken)  # one more while a frame is being refused
        assert host.wait(sid).data == [*(b"%d" % n for n in range(200)), b""]


def test_an_unbounded_stream_takes_all() -> None:
    with NrHost() as host:
        host.load(PLUGIN, abi="v2", stream_capacity=0)
        sid = host.submit("count", kind="stream", body=b"5000").sid
        until(lambda: host.ledger().terminals == 1)
        assert host.ledger().backpressure == 0
        assert len(host.wait(sid).frames) == 5001


def test_a_flood_inside_handle(probe: NrHost) -> None:
    sid = probe.submit("flood", kind="stream", body=b"100").sid
    assert said(probe) == "taken 64 refused 36"
    assert probe.wait(sid).data == [b"the same"] * 65 + [b""]


def test_the_plugin_may_refuse_input_for_now() -> None:
    with NrHost() as host:
        host.load(PLUGIN, abi="v2", stream_capacity=1)
        sid = host.submit("chat", kind="stream").sid
        answers = {host.stream_data(sid, b"in") for _ in range(1100)}
        assert answers == {Status.OK, Status.BACKPRESSURE}
        assert host.stream_close(sid) == Status.OK
        frames = host.wait(sid).frames
        assert frames[-1].status == Status.STREAM_END
        assert len(frames) < 1102


def test_a_full_stream_does_not_hold_shutdown_up(host: NrHost) -> None:
    host.submit("count", kind="stream", body=b"1000")
    until(lambda: host.ledger().backpressure >= 1)
    ledger = host.unload()
    assert ledger
    assert (ledger.open, ledger.clean) == (0, True)


# ---- the ledger notices ----


def test_ledger_notices_a_send_after_invalid(broken: NrHost) -> None:
    broken.fire("twice")
    assert said(broken) == "22"
    ledger = broken.ledger()
    assert (ledger.after_invalid, ledger.after_terminal) == (1, 0)
    assert "after the host had answered Invalid" in ledger.first


def test_ledger_notices_a_send_after_the_terminal(broken: NrHost) -> None:
    broken.call("twice")
    assert said(broken) == "02"
    assert (broken.ledger().after_invalid, broken.ledger().after_terminal) == (0, 1)


def test_ledger_notices_a_frame_that_was_left_out(broken: NrHost) -> None:
    broken.submit("skip", kind="stream")
    ledger = broken.ledger()
    assert ledger.backpressure > 0
    assert ledger.reordered > 0
    assert "another frame than the one that was not taken" in ledger.first


@pytest.mark.parametrize(("status", "bad"), [(3, 0), (4, 0), (5, 1), (6, 1), (7, 1)])
def test_ledger_notices_a_bad_status_sent(broken: NrHost, status: int, bad: int) -> None:
    broken.call("bad_status", body=b"%d" % status)
    assert broken.ledger().bad_status == bad


@pytest.mark.parametrize(("status", "bad"), [(3, 0), (4, 0), (5, 1), (6, 0), (7, 1)])
def test_ledger_notices_a_bad_status_returned(broken: NrHost, status: int, bad: int) -> None:
    assert broken.call("return", kind="stream", body=b"%d" % status).handle == status
    assert broken.ledger().bad_status == bad


def test_unload_tells_what_was_broken(broken: NrHost) -> None:
    broken.call("twice")
    broken.submit("lease_late")
    broken.unload()
    assert len(broken.broken) == 2
    assert "came after the terminal one" in broken.broken[0]
    assert broken.broken[1] == "1 calls were accepted and never answered"


# ---- under callers that go on ----


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize(
    ("entry", "kind", "door"),
    [("echo", "unary", "handle"), ("echo_sync", "unary", "fast"), ("spread", "stream", "handle")],
)
def test_reload_under_callers(abi: Abi, drain: bool, entry: str, kind: str, door: str) -> None:
    with NrHost() as host:
        host.load(built("conformance", abi), abi=abi)
        counts, words = host.reload(40, drain=drain, entry=entry, kind=kind, door=door, threads=3)
        assert words == []
        assert counts.replies == counts.accepted
        assert (counts.wrong, counts.lost) == (0, 0)
        if drain:
            assert counts.refused == 0
        assert host.call("echo", body=b"after").reply.text == "after"


def test_a_reload_that_fails_keeps_the_old_one() -> None:
    with NrHost() as host:
        host.load(OUT / "c_plugin.so")
        host.setenv("C_PLUGIN_REFUSES", "1")
        with pytest.raises(HostError, match="init answered Invalid"):
            host.reload()
        assert host.call("echo", body=b"still").reply.text == "still"


@pytest.mark.parametrize("abi", ABIS)
def test_callers_until_unload(abi: Abi) -> None:
    other_door = "raw" if abi == "v1-raw" else "id" if abi == "v2" else "handle"
    callers: dict[str, dict[str, object]] = {
        "one": {"entry": "echo", "threads": 2},
        "two": {"entry": "echo", "threads": 2, "door": other_door},
        "three": {"entry": "spread", "threads": 1, "kind": "stream"},
    }
    with NrHost() as host:
        jobs = {}
        for plugin, arguments in callers.items():
            host.load(built("conformance", abi), abi=abi, plugin=plugin)
            jobs[plugin] = host.start_callers(plugin=plugin, until="unload", **arguments)  # type: ignore[arg-type]
        until(lambda: all(host.ledger(plugin=plugin).terminals > 300 for plugin in callers))
        for plugin, job in jobs.items():
            assert host.unload(plugin=plugin)
            counts = host.join_callers(job)
            assert counts.accepted == counts.replies > 0
            assert (counts.wrong, counts.lost) == (0, 0)


def test_callers_notice_what_is_wrong(host: NrHost) -> None:
    wrong = host.join_callers(host.start_callers("fail", calls=10, threads=2))
    assert (wrong.accepted, wrong.replies, wrong.wrong) == (10, 10, 10)
    refused = host.join_callers(host.start_callers("no such entry", calls=10))
    assert (refused.accepted, refused.refused) == (0, 10)
    lost = host.join_callers(host.start_callers("held", calls=1, door="fast"))
    assert (lost.accepted, lost.lost) == (1, 1)


# ---- the commands for people ----


def nrhost(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(OUT / "nrhost"), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_commands() -> None:
    done = nrhost("call", PLUGIN, "echo", "--abi", "v2", "--id", "--body", "hi")
    assert (done.returncode, done.stdout) == (0, "Ok, 2 bytes: hi\n"), done
    assert (
        nrhost("stream", PLUGIN, "count", "--abi", "v2", "--body", "1").stdout == "Ok, 1 bytes: 0\nStreamEnd, 0 bytes\n"
    )
    assert "ABI      v2" in nrhost("info", PLUGIN, "--abi", "v2").stdout
    assert nrhost("info", PLUGIN, "--abi", "v3").returncode == 2


@pytest.mark.parametrize("entry", ["echo_sync", "echo_owned", "echo_vector", "echo_lease"])
@pytest.mark.parametrize("kind", ["unary", "id", "fast", "throughput"])
def test_bench(kind: str, entry: str) -> None:
    done = nrhost("bench", PLUGIN, entry, "--abi", "v2", "--kind", kind, "--calls", "400", "--window", "16", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["calls_per_s"] > 0
    refused = nrhost("bench", PLUGIN, entry, "--abi", "v1", "--kind", "id", "--calls", "10")
    assert "for ABI v2" in refused.stderr
