"""The C host itself: that it does what its driver asks, and that its ledger notices every broken promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from conftest import until  # noqa: E402
from nrhost import HostError, Ledger, NrHost, Status, pattern_crc32  # noqa: E402

pytestmark = pytest.mark.long  # no Python runs in what is tested here

OUT = Path(os.environ.get("NRHOST", str(ROOT / "build/c/nrhost"))).parent
PLUGIN = OUT / "c_plugin.so"
RAW_PLUGIN = OUT / "c_plugin_raw.so"
ADDRESS_SANITIZED = b"__asan_init" in PLUGIN.read_bytes()
THREAD_SANITIZED = b"__tsan_init" in PLUGIN.read_bytes()


@pytest.fixture
def host() -> Iterator[NrHost]:
    with NrHost() as running:
        assert running.load(PLUGIN) == Status.OK
        yield running


@pytest.fixture
def broken() -> Iterator[NrHost]:
    """A host whose plugin will break its promise."""
    with NrHost(clean=False) as running:
        assert running.load(PLUGIN) == Status.OK
        yield running


def run(*steps: Callable[[NrHost], object], patience_s: float = 60.0) -> None:
    """Takes the steps with a host of their own, and leaves it."""
    with NrHost(patience_s=patience_s) as host:
        host.load(PLUGIN)
        for step in steps:
            step(host)


# ---- calls ----


def test_info(host: NrHost) -> None:
    info = host.info()
    assert (info["name"], info["version"], info["abi_version"], info["struct_size"]) == ("c_plugin", "1.0.0", 1, 56)


@pytest.mark.parametrize("place", ["main", "thread", "pool:3"])
def test_call_on_each_place(host: NrHost, place: str) -> None:
    assert host.call("echo", body=b"h\0i = %", on=place).reply.data == b"h\0i = %"
    assert host.call("deferred", body=b"later", on=place).reply.data == b"later"


def test_small_stack(host: NrHost) -> None:
    assert host.call("echo", body=b"x", on="thread", stack=65536).reply.data == b"x"


def test_fields_arrive(host: NrHost) -> None:
    call = host.call("info", method="PUT", path="/a b", query="q=%20", headers=[("k", "v"), ("k", "w")], body=b"123")
    assert call.reply.text == "PUT /a b?q=%20 headers=2 body=3 k=v k=w"
    assert host.call("info", headers=10000).reply.text.startswith(" ? headers=10000 body=0 x-header-0=value 0")
    assert host.call("info", request="null").reply.text == "no request"
    assert host.call("info", door="raw").reply.text == "no request"


def test_big_bodies(host: NrHost, tmp_path: Path) -> None:
    size = 64 << 20
    reply = host.call("echo", body_size=size).reply
    assert (reply.length, reply.crc32, reply.data) == (size, pattern_crc32(size), None)
    big = bytes(range(256)) * 4096
    assert host.call("echo", body=big, full=True).reply.data == big
    (tmp_path / "body").write_bytes(b"from a file")
    assert host.call("echo", body_file=tmp_path / "body").reply.text == "from a file"


def test_fast(host: NrHost) -> None:
    call = host.call("echo", door="fast", body=b"quick")
    assert call.ended
    assert call.reply.data == b"quick"
    assert host.call("refuse", door="fast").handle == Status.UNSUPPORTED


def test_fast_needs_the_reply_inside_handle(broken: NrHost) -> None:
    call = broken.call("lose_reply", door="fast")
    assert call.handle == Status.OK
    assert not call.ended
    assert call.frames == []


def test_status_of_a_reply_and_of_a_refusal(host: NrHost) -> None:
    assert host.call("error").reply.status == Status.ERR
    assert host.call("no such entry").handle == Status.INVALID
    assert host.call("refuse").handle == Status.UNSUPPORTED
    assert host.ledger().refused == 2


def test_submit_then_wait(host: NrHost) -> None:
    sid = host.submit("deferred", body=b"x", sid=4711).sid
    assert sid == 4711
    assert host.wait(sid).reply.data == b"x"
    with pytest.raises(HostError, match="no call with sid 4711"):
        host.wait(sid)


def test_a_sid_may_come_again(host: NrHost) -> None:
    for n in range(3):
        assert host.call("echo", sid=7, body=b"%d" % n).reply.data == b"%d" % n
    assert host.ledger().terminals == 3


def test_wait_gives_up_in_time_and_the_call_goes_on(host: NrHost) -> None:
    sid = host.submit("hold").sid
    assert host.wait(sid, timeout=0.05).timed_out
    host.shutdown()
    assert host.wait(sid).reply.status == Status.ERR


def test_raw_layout() -> None:
    with NrHost() as host:
        host.load(RAW_PLUGIN, layout="raw")
        assert host.call("echo", door="raw", body=b"six").reply.data == b"six"
        assert host.call("info", path="/p").reply.text.startswith(" /p")
        assert host.stream("stream", body=b"2").data == [b"frame 0", b"frame 1", b""]


def test_two_plugins_from_one_file(host: NrHost) -> None:
    host.load(PLUGIN, plugin="second")
    for name in ("main", "second", "main"):
        assert host.call("echo", plugin=name, body=name.encode()).reply.text == name
    host.unload()
    assert host.call("deferred", plugin="second", body=b"still").reply.data == b"still"


def test_a_load_during_another_instance_s_shutdown(host: NrHost) -> None:
    host.callback("block", budget=1)
    sid = host.submit("deferred", body=b"first").sid
    assert host.parked() == 1
    job = host.start_shutdown()
    until(lambda: host.call("echo").handle == Status.INVALID)  # shutdown waits for the parked thread
    assert host.load(PLUGIN, plugin="second") == Status.OK
    assert host.call("echo", plugin="second", body=b"x").reply.data == b"x"
    host.release()
    host.join(job)
    assert host.wait(sid).reply.data == b"first"
    assert host.call("echo", plugin="second", body=b"y").reply.data == b"y"


def test_what_is_no_plugin_is_refused(host: NrHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no/such/file"):
        host.load("/no/such/file.so", plugin="other")
    with pytest.raises(HostError, match="nylon_ring_get_plugin_v1"):
        host.load("libm.so.6", plugin="other")


def test_failed_init_is_a_status(host: NrHost) -> None:
    host.setenv("C_PLUGIN_REFUSES", "1")
    assert host.load(PLUGIN, plugin="other") == Status.INVALID


# ---- streams ----


def test_stream(host: NrHost) -> None:
    call = host.stream("stream", body=b"1000")
    assert len(call.frames) == 1001
    assert call.ended
    assert call.frames[-1].status == Status.STREAM_END


def test_duplex(host: NrHost) -> None:
    sid = host.submit("duplex", kind="stream").sid
    for word in (b"one", b"two"):
        assert host.stream_data(sid, word) == Status.OK
        assert host.wait(sid, frames=1).data == [word]
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).frames[-1].status == Status.STREAM_END
    assert host.stream_close(sid) == Status.INVALID
    assert host.stream_data(sid, b"late") == Status.INVALID


def test_dropped_receiver_closes_the_stream(host: NrHost) -> None:
    sid = host.submit("duplex", kind="stream").sid
    host.drop(sid)
    assert host.stream_data(sid, b"x") == Status.INVALID
    assert host.ledger().open == 0


def test_second_handle_with_the_sid_of_an_open_stream(host: NrHost) -> None:
    sid = host.submit("duplex", kind="stream").sid
    assert host.submit("duplex", kind="stream", sid=sid).handle == Status.INVALID
    assert host.stream_data(sid, b"x") == Status.OK
    assert host.wait(sid, frames=1).data == [b"x"]


# ---- bad input ----


@pytest.mark.parametrize("field", ["entry", "payload", "method", "path", "query", "headers", "hkey0", "hval0"])
@pytest.mark.parametrize("view", ["null:1", "top:9", "null:4294967295"])
def test_broken_views_reach_the_plugin(host: NrHost, field: str, view: str) -> None:
    assert host.call("info", headers=[("k", "v")], raw={field: view}).handle == Status.INVALID
    assert host.call("info", headers=[("k", "v")], raw={field: "null:0"}).handle in (Status.OK, Status.INVALID)


def test_broken_stream_data(host: NrHost) -> None:
    sid = host.submit("duplex", kind="stream").sid
    for view in ("null:4", "top:9", "keep:18446744073709551615"):
        assert host.stream_data(sid, b"x", raw={"data": view}) == Status.INVALID
    assert host.stream_data(999, b"x") == Status.INVALID
    assert host.stream_close(999) == Status.INVALID


def test_bytes_that_are_no_utf8(host: NrHost) -> None:
    assert host.call("info", path=b"/\xff\xfe").frames[0].data == b" /\xff\xfe? headers=0 body=0"
    assert host.call(b"\xc3\x28").handle == Status.INVALID


@pytest.mark.parametrize("ctx", ["null", "host", "own+8", "0x1234"])
def test_wrong_plugin_ctx(host: NrHost, ctx: str) -> None:
    assert host.call("echo", ctx=ctx).handle == Status.INVALID
    assert host.stream_data(1, b"x", ctx=ctx) == Status.INVALID
    assert host.stream_close(1, ctx=ctx) == Status.INVALID
    assert host.init(ctx=ctx) == Status.INVALID
    host.shutdown(ctx=ctx)
    assert host.call("echo", body=b"alive").reply.data == b"alive"


def test_out_of_turn() -> None:
    with NrHost() as host:
        assert host.load(PLUGIN, get_only=True) is None
        assert host.call("echo").handle == Status.INVALID
        assert host.init() == Status.OK
        assert host.init() == Status.INVALID
        assert host.call("echo").reply.status == Status.OK
        host.shutdown()
        host.shutdown()
        assert host.call("echo").handle == Status.INVALID


# ---- many at once ----


def test_storm(host: NrHost) -> None:
    storm = host.storm(
        calls=6000, threads=64, waves=4, unary="echo", raw="deferred", fast="sync", stream="stream", check_echo=True
    )
    assert (storm.accepted, storm.terminals, storm.refused) == (6000, 6000, 0)
    assert (storm.wrong, storm.timeouts, storm.no_reply) == (0, 0, 0)
    assert host.ledger().clean


def test_storm_notices_wrong_payloads_and_refusals(host: NrHost) -> None:
    assert host.storm(calls=100, unary="info", check_echo=True).wrong == 100
    assert host.storm(calls=100, raw="no entry").refused_by_status == {"Invalid": 100}


def test_storm_notices_lost_replies(broken: NrHost) -> None:
    storm = broken.storm(calls=4, threads=2, unary="lose_reply", timeout=0.1)
    assert (storm.accepted, storm.timeouts, storm.terminals) == (4, 4, 0)


# ---- what send_result may do ----


@pytest.mark.parametrize("mode", ["reenter", "join"])
def test_callback_calls_the_plugin(host: NrHost, mode: str) -> None:
    host.callback(mode, entry="echo", depth=3)  # type: ignore[arg-type]
    assert host.call("deferred", body=b"outer").reply.data == b"outer"
    report = host.callback_report(inner_calls=3)
    assert report["inner_calls"] == 3
    assert report["inner_replies"] == report["inner_calls"]


def test_callback_blocks_until_released(host: NrHost) -> None:
    host.callback("block")
    sid = host.submit("deferred", body=b"x").sid
    assert host.parked() == 1
    job = host.start_shutdown()
    assert host.callback_report()["parked"] == 1
    host.release()
    host.join(job)
    assert host.wait(sid).reply.data == b"x"


def test_callback_shuts_down(host: NrHost) -> None:
    host.callback("shutdown", budget=1)
    assert host.call("echo", body=b"last").reply.data == b"last"
    assert host.callback_report(shutdowns=1)["shutdowns"] == 1
    assert host.call("echo").handle == Status.INVALID


# ---- state ----


def test_state_lives_as_long_as_its_call(host: NrHost) -> None:
    assert host.call("state", body=b"value").reply.data == b"value"
    assert host.call("state", body=b"value", door="fast").reply.data == b"value"
    assert host.state_count() == 0


def test_state_is_refused_after_the_terminal(host: NrHost) -> None:
    assert host.call("state_after_end").reply.text == "answered"
    assert host.state_count() == 0


# ---- the ledger notices ----


def settle(host: NrHost) -> Ledger:
    """The ledger when the plugin has ended all it began."""
    host.shutdown()
    return host.ledger()


def test_ledger_notices_a_lost_reply(broken: NrHost) -> None:
    sid = broken.submit("lose_reply").sid
    ledger = settle(broken)
    assert (ledger.open, ledger.clean) == (1, False)
    assert not broken.wait(sid, timeout=0).ended


@pytest.mark.parametrize(
    ("entry", "kind", "counter", "words"),
    [
        ("double_reply", "unary", "after_terminal", "came after the terminal one"),
        ("stream", "unary", "after_terminal", "came after the terminal one"),
        ("after_end", "stream", "after_terminal", "came after the terminal one"),
        ("reply_and_refuse", "unary", "after_refusal", "sent a reply"),
        ("reply_after_refuse", "unary", "after_refusal", "refus|reply"),
        ("overlap_frames", "stream", "overlaps", "two sends at the same time"),
        ("unknown_sid", "unary", "unknown", "never used"),
        ("bad_status", "unary", "bad_status", "status 6"),
    ],
)
def test_ledger_notices(broken: NrHost, entry: str, kind: Literal["unary", "stream"], counter: str, words: str) -> None:
    broken.submit(entry, kind=kind)
    ledger = settle(broken)
    assert getattr(ledger, counter) > 0
    assert not ledger.clean
    assert re.search(words, ledger.first)


def test_ledger_notices_a_stranger_s_reply(broken: NrHost) -> None:
    held = broken.submit("hold").sid
    broken.call("stranger", body=str(held).encode())
    assert broken.ledger().strangers == 1


def test_ledger_can_be_reset_and_off(broken: NrHost) -> None:
    broken.call("reply_and_refuse")
    broken.ledger_reset()
    assert broken.ledger().clean
    assert broken.ledger().refused == 0
    broken.load(PLUGIN, plugin="quiet", ledger=False)
    with pytest.raises(HostError, match="ledger=0"):
        broken.ledger(plugin="quiet")


def test_late_send_is_noticed() -> None:
    words = "AddressSanitizer" if ADDRESS_SANITIZED else "after shutdown had returned"
    # The second shutdown is where the plugin uses the host's freed context.
    with pytest.raises(HostError, match=words):
        run(lambda host: host.call("late_send"), lambda host: host.shutdown(), lambda host: host.shutdown())


def test_leaving_complains_of_a_broken_promise() -> None:
    with pytest.raises(HostError, match="broke its promise"):
        run(lambda host: host.submit("lose_reply"))


def test_leaving_complains_of_a_leaked_descriptor() -> None:
    with pytest.raises(HostError, match="left behind"):
        run(lambda host: host.call("leak_fd"), patience_s=0.1)


# ---- the process ----


def test_a_plugin_s_prints_do_not_disturb(host: NrHost) -> None:
    assert host.call("print").reply.text == "printed"
    assert b"a plugin prints" in host.stderr()


def test_sigpipe_is_ignored(host: NrHost) -> None:
    assert host.call("sigpipe").reply.text == "EPIPE"


def test_a_dead_host_is_an_error() -> None:
    with pytest.raises(HostError, match="SIGABRT"):
        run(lambda host: host.call("crash"))


def test_a_hang_is_an_error() -> None:
    with pytest.raises(HostError, match="did not return within its limit"):
        run(lambda host: host.call("hang", limit=0))


def test_cycle_is_flat() -> None:
    with NrHost() as host:
        rss = host.cycle(PLUGIN, n=200, entry="deferred", body=b"x")
        assert len(rss) == 10
        # A sanitizer keeps books of its own, which grow.
        assert rss[-1] - rss[1] < 1024 or ADDRESS_SANITIZED or THREAD_SANITIZED
        with pytest.raises(HostError, match=r"round 1 of 10: .*Invalid"):
            host.cycle(PLUGIN, n=10, entry="no entry")


def test_fork(host: NrHost) -> None:
    forked = host.fork("echo", body=b"x")
    assert (forked.hung, forked.signal, forked.handle, forked.answered, forked.reply) == (False, 0, 0, True, 0)
    assert host.fork("crash").signal == 6


#: ThreadSanitizer has a thread of its own, which keeps a process alive that its main thread has left.
PTHREAD_EXIT = [] if THREAD_SANITIZED else [("pthread_exit", 0)]


@pytest.mark.parametrize(
    ("how", "code"), [("return", 5), ("exit_without_shutdown", 3), ("_exit", 4), ("abort", -6), *PTHREAD_EXIT]
)
def test_exit(how: str, code: int) -> None:
    with NrHost(leaks=False) as host:
        host.load(PLUGIN)
        assert host.exit(how, code=max(code, 0)) == code  # type: ignore[arg-type]


# ---- the commands for people ----


def nrhost(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(OUT / "nrhost"), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_command_call() -> None:
    done = nrhost("call", PLUGIN, "info", "--path", "/x", "--header", "a: b", "--body", "hi")
    assert (done.returncode, done.stdout) == (0, "Ok, 25 bytes:  /x? headers=1 body=2 a=b\n"), done
    assert nrhost("call", PLUGIN, "echo", "--fast", "--raw", "--count", "3", "--body", "x").stdout.count("Ok") == 3
    assert nrhost("call", PLUGIN, "error").returncode == 1
    assert "Invalid" in nrhost("call", PLUGIN, "nothing").stderr
    assert "broke its promise" in nrhost("call", PLUGIN, "lose_reply", "--timeout", "0.05").stderr
    assert nrhost("call", PLUGIN).returncode == 2


def test_command_stream_and_info() -> None:
    done = nrhost("stream", PLUGIN, "duplex", "--send", "a", "--send", "b", "--close")
    assert (done.returncode, done.stdout) == (0, "Ok, 1 bytes: a\nOk, 1 bytes: b\nStreamEnd, 0 bytes\n"), done
    assert "c_plugin" in nrhost("info", PLUGIN).stdout
    assert nrhost("--help").stdout.startswith("nrhost")
    assert nrhost("frobnicate").returncode == 2


@pytest.mark.parametrize(
    ("kind", "entry", "figure"),
    [
        ("unary", "echo", "ns_per_call"),
        ("raw", "echo", "ns_per_call"),
        ("fast", "echo", "ns_per_call"),
        ("submit", "deferred", "p90_ns"),
        ("submit", "deferred", "p999_ns"),
        ("throughput", "deferred", "calls_per_s"),
        ("roundtrip", "deferred", "p99_ns"),
        ("stream", "burst", "frames_per_s"),
        ("echo", "duplex", "frames_per_s"),
        ("idle", "duplex", "open_ns"),
    ],
)
def test_command_bench(kind: str, entry: str, figure: str) -> None:
    done = nrhost("bench", PLUGIN, entry, "--kind", kind, "--calls", "400", "--window", "16", "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)[figure] > 0
    refused = nrhost("bench", PLUGIN, "no entry", "--kind", kind, "--calls", "10")
    assert refused.returncode == 1
    assert "nrhost bench" in refused.stderr


@pytest.mark.parametrize("kind", ["echo", "idle"])
def test_command_bench_says_which_entry_is_no_echo(kind: str) -> None:
    done = nrhost("bench", PLUGIN, "burst", "--kind", kind, "--calls", "10", "--streams", "2")
    assert done.returncode == 1
    assert "a stream ended before the host had closed it" in done.stderr


@pytest.mark.parametrize(
    ("kind", "entry"),
    [("unary", "echo"), ("fast", "echo"), ("throughput", "deferred"), ("load", "echo")],
)
def test_command_bench_holds_replies_to_their_length(kind: str, entry: str) -> None:
    options = (PLUGIN, entry, "--kind", kind, "--calls", "10", "--body", "100")
    assert nrhost("bench", *options, "--reply", "100").returncode == 0
    done = nrhost("bench", *options, "--reply", "99")
    assert done.returncode == 1
    assert "--reply" in done.stderr


def test_command_bench_holds_frames_to_their_length() -> None:
    options = (PLUGIN, "burst", "--kind", "stream", "--calls", "10")
    assert nrhost("bench", *options).returncode == 0
    done = nrhost("bench", *options, "--reply", "99")
    assert done.returncode == 1
    assert "--reply" in done.stderr


@pytest.mark.parametrize("kind", ["submit", "latency"])
def test_command_bench_paces_its_calls(kind: str) -> None:
    done = nrhost("bench", PLUGIN, "echo", "--kind", kind, "--calls", "20", "--pace", "1000000", "--json")
    assert json.loads(done.stdout)["calls_per_s"] < 1001


def test_command_bench_takes_no_err_for_the_first_reply() -> None:
    done = nrhost("bench", PLUGIN, "error", "--kind", "load")
    assert done.returncode == 1
    assert "not answered Ok" in done.stderr
