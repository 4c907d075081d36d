"""ABI v2: the same plugin file through functions without a plugin_ctx, numbers for entries, and owned replies."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path
from typing import Literal

import pytest
from conftest import BuildPlugin, StartHost, fewer, memory_counts, until
from hosts.environments import compile_c, sanitizer_flags
from nrhost import Abi, NrHost, Status

UNKNOWN = 0xFFFFFFFF
SLOTS = 64
OWNED_MIN = 8 * 1024

PLUGIN = """
import os
import threading
from nylon_ring_py import Plugin, Status

plugin = Plugin("second", version="2.3.4", workers=1, max_pending=2)
gate = threading.Event()
begun = threading.Event()

@plugin.handle("echo")
def echo(req):
    return req.body

@plugin.handle_sync("echo_sync")
def echo_sync(req):
    return req.body

@plugin.handle_raw("raw", sync=True)
def raw(payload):
    return payload

@plugin.handle_sync("fields")
def fields(req):
    return repr((req.has_metadata, req.method, req.path, req.query, len(req.headers), req.entry, req.sid > 0))

@plugin.handle_sync("bad")
def bad(req):
    raise ValueError("no")

@plugin.handle("state")
def state(req):
    before = req.state.get("k")
    req.state.set("k", req.body)
    return repr((before, req.state.get("k")))

@plugin.handle("block")
def block(req):
    begun.set()
    gate.wait()
    return b"done"

@plugin.handle_sync("begun")
def wait_begun(req):
    begun.wait()
    return b""

@plugin.handle_sync("open")
def open_gate(req):
    gate.set()
    return b""

class Tattling(bytes):
    def __del__(self):
        os.close(os.open(os.environ["TOLD"], os.O_CREAT | os.O_WRONLY))

@plugin.handle_sync("tattling")
def tattling(req):
    return Tattling(int(req.body))

@plugin.handle_sync("text")
def text(req):
    return "\\u00e9" * int(req.body)

shared = bytearray(100_000)

@plugin.handle_sync("shared")
def mutate(req):
    shared[:] = req.body * 100_000
    return shared
"""

FAILS = """
from nylon_ring_py import Plugin
plugin = Plugin("fails")

@plugin.on_init
def init():
    raise RuntimeError("not today")
"""


@pytest.fixture(scope="module")
def second(build_once: BuildPlugin) -> Path:
    return build_once(PLUGIN, "second")


@pytest.fixture
def host(start_host: StartHost, second: Path) -> NrHost:
    host = start_host()
    assert host.load(second, abi="v2") == Status.OK
    return host


def test_info(host: NrHost) -> None:
    info = host.info()
    assert (info["name"], info["version"], info["abi_version"], info["struct_size"]) == ("second", "2.3.4", 2, 56)


@pytest.mark.parametrize("door", ["handle", "id", "fast"])
@pytest.mark.parametrize("entry", ["echo_sync", "raw"])
def test_every_door(host: NrHost, entry: str, door: Literal["handle", "id", "fast"]) -> None:
    assert host.call(entry, body=b"hi", door=door).reply.data == b"hi"


def test_a_pooled_entry_by_number(host: NrHost) -> None:
    assert host.call("echo", body=b"hi", door="id").reply.data == b"hi"


def test_a_request_has_no_metadata(host: NrHost) -> None:
    assert host.call("fields").reply.text == "(False, '', '', '', 0, 'fields', True)"


def test_a_failure_is_a_reply(host: NrHost) -> None:
    reply = host.call("bad", door="fast").reply
    assert (reply.status, reply.text) == (Status.ERR, "ValueError: no")


def test_numbers(host: NrHost) -> None:
    entries = ["echo", "echo_sync", "raw", "fields", "bad", "state", "block", "begun", "open", "text", "shared"]
    numbers = [host.resolve(entry) for entry in entries]
    assert len(set(numbers)) == len(entries)
    assert [host.resolve(entry) for entry in entries] == numbers
    assert host.resolve("nobody") == UNKNOWN
    assert host.resolve("") == UNKNOWN
    for number in (UNKNOWN, 1 << 20, *(set(range(64)) - set(numbers) - {host.resolve("tattling")})):
        assert host.call("", id=number, door="id").handle == Status.INVALID


def test_state_is_kept_here(host: NrHost) -> None:
    for value in (b"one", b"two"):
        assert host.call("state", body=value).reply.text == f"(None, {value!r})"
    assert host.state_count() == 0


def test_out_of_turn(start_host: StartHost, second: Path) -> None:
    host = start_host()
    host.load(second, abi="v2", get_only=True)
    assert host.call("echo").handle == Status.INVALID
    assert host.resolve("echo") == UNKNOWN
    assert host.init() == Status.OK
    assert host.init() == Status.INVALID
    assert host.call("echo", body=b"x").reply.data == b"x"


@pytest.mark.parametrize(("abi", "status"), [("v1", Status.ERR), ("v2", Status.BACKPRESSURE)])
def test_a_full_queue(start_host: StartHost, second: Path, abi: Abi, status: int) -> None:
    host = start_host()
    host.load(second, abi=abi)
    running = host.submit("block").sid
    host.call("begun")
    waiting = [host.submit("echo", body=b"x").sid for _ in range(2)]
    assert host.submit("echo").handle == status
    host.call("open")
    assert host.wait(running).reply.data == b"done"
    assert [host.wait(sid).reply.data for sid in waiting] == [b"x", b"x"]


# ---- instances ----


def test_as_many_instances_as_slots(start_host: StartHost, second: Path) -> None:
    host = start_host()
    for i in range(SLOTS):
        assert host.load(second, abi="v2", plugin=f"p{i}") == Status.OK
    assert host.load(second, abi="v2", plugin="one too many") == Status.ERR
    assert f"{SLOTS} instances of this file are open already" in host.stderr_tail()
    assert host.call("echo", body=b"x", plugin="p0").reply.data == b"x"
    host.unload(plugin="p7")
    assert host.load(second, abi="v2", plugin="p7") == Status.OK
    assert host.load(second, abi="v1", plugin="a slot of v1's own") == Status.OK


def test_looking_takes_no_slot_for_good(start_host: StartHost, second: Path) -> None:
    host = start_host()
    assert host.load(second, abi="v2") == Status.OK
    for i in range(SLOTS + 6):
        host.load(second, abi="v2", get_only=True, plugin=f"only looking {i}")
    assert host.load(second, abi="v2", plugin="earnest") == Status.OK
    assert host.call("echo", body=b"x").reply.data == b"x"
    assert host.call("echo", body=b"y", plugin="earnest").reply.data == b"y"


def test_a_failed_init_gives_its_slot_back(start_host: StartHost, build: BuildPlugin) -> None:
    host = start_host()
    fails = build(FAILS, "fails")
    for _ in range(SLOTS + 1):
        assert host.load(fails, abi="v2") == Status.ERR
    assert "instances of this file are open already" not in host.stderr_tail(100_000)


def test_instances_keep_apart(start_host: StartHost, second: Path) -> None:
    """One is shut down while the other has a call in progress, under the same sid."""
    host = start_host()
    for plugin in ("a", "b"):
        assert host.load(second, abi="v2", plugin=plugin) == Status.OK
        host.submit("block", sid=7, plugin=plugin)
        host.call("begun", plugin=plugin)
    host.call("open", plugin="a")
    assert host.wait(7, plugin="a").reply.data == b"done"
    host.unload(plugin="a")
    host.call("open", plugin="b")
    assert host.wait(7, plugin="b").reply.data == b"done"


# ---- replies without a copy ----


@pytest.fixture
def keeping(start_host: StartHost, second: Path, tmp_path: Path) -> NrHost:
    host = start_host(env={"TOLD": str(tmp_path / "told")})
    assert host.load(second, abi="v2", keep_owned=True) == Status.OK
    return host


@pytest.mark.parametrize("entry", ["echo", "echo_sync"])
@pytest.mark.parametrize("size", [0, 100, OWNED_MIN - 1, OWNED_MIN, 300_000])
def test_kept_replies_outlive_the_plugin(keeping: NrHost, entry: str, size: int) -> None:
    body = os.urandom(size)
    keeping.call(entry, body=body, keep=True)
    keeping.unload()
    assert [frame.crc32 for frame in keeping.free_frames()] == [zlib.crc32(body)]


def test_a_str_is_kept_as_it_was_sent(keeping: NrHost) -> None:
    keeping.call("text", body=b"20000", keep=True)
    keeping.unload()
    assert [frame.crc32 for frame in keeping.free_frames()] == [zlib.crc32("\u00e9".encode() * 20000)]


def test_what_its_author_can_change_is_copied(keeping: NrHost) -> None:
    keeping.call("shared", body=b"a", keep=True)
    keeping.call("shared", body=b"b", keep=True)
    assert [f.crc32 for f in keeping.free_frames()] == [zlib.crc32(b"b" * 100_000), zlib.crc32(b"a" * 100_000)]


@pytest.mark.parametrize("unload_first", [False, True])
def test_a_kept_object_lives_until_it_is_given_back(keeping: NrHost, tmp_path: Path, unload_first: bool) -> None:
    """It is dropped although no call enters Python any more."""
    keeping.call("tattling", body=b"100000", keep=True)
    assert keeping.call("echo", body=b"x").reply.data == b"x"
    if unload_first:
        keeping.unload()
    assert not (tmp_path / "told").exists()
    assert [frame.length for frame in keeping.free_frames()] == [100_000]
    until((tmp_path / "told").exists)  # without asking anything of the plugin


def test_a_long_reply_nobody_wants_is_dropped(keeping: NrHost, tmp_path: Path) -> None:
    keeping.fire("tattling", body=b"100000")
    until((tmp_path / "told").exists)  # without asking anything of the plugin


def test_kept_replies_are_no_leak(keeping: NrHost) -> None:
    body = 1 << 20
    keeping.storm(calls=fewer(100), threads=2, fast="echo_sync", body_size=body, check_echo=True)
    before = keeping.process().rss_kib
    keeping.storm(calls=fewer(500), threads=2, fast="echo_sync", body_size=body, check_echo=True)
    assert not memory_counts() or keeping.process().rss_kib < before + 64 * 1024


# ---- a host that has no room for a reply ----


@pytest.fixture(scope="module")
def full_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("full") / "full_host"
    flags = ["-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-Ishim/abi"]
    return compile_c(out, ["tests/hosts/full_host.c"], [*flags, *sanitizer_flags(), "-ldl"])


@pytest.mark.parametrize("size", [10, 50_000])
@pytest.mark.parametrize("entry", ["echo", "echo_sync", "bad"])
def test_a_unary_reply_is_offered_until_it_is_taken(full_host: Path, second: Path, entry: str, size: int) -> None:
    done = subprocess.run([full_host, second, entry, str(size), "5"], capture_output=True, text=True, timeout=60)
    length = 14 if entry == "bad" else size
    assert done.stdout == f"taken once after 5 refusals: status {int(entry == 'bad')}, {length} bytes, as sent\n", (
        done.stderr
    )


def test_shutdown_lets_go_of_a_reply_that_is_never_taken(full_host: Path, build: BuildPlugin) -> None:
    plugin = build(PLUGIN.replace("workers=1,", "workers=1, shutdown_timeout_s=0.1,"), "impatient")
    done = subprocess.run([full_host, plugin, "echo", "10", "never"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "never taken\n", done.stderr
    assert "had no room for the last frames of sid 1" in done.stderr
