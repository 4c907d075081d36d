"""The plugins that `make bench` measures beside ours answer what it asks them, in the C host.

Rust's is the tests' build of it.
"""

from __future__ import annotations

import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nrhost import NrHost, Status, pattern_crc32

sys.path.append(str(Path(__file__).resolve().parents[2]))
sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import rust

from benchmarks.cases.starting import NOT_TWICE
from benchmarks.peers.build import PEERS, Abi, build_peers, host_environment

pytestmark = pytest.mark.long  # compilers, and plugins that are not ours

CASES = [(name, abi) for name in PEERS for abi in PEERS[name].entries]
SIZES = (0, 11, 100_000)
STREAMS = ("gen", "gen_worker")
BUSY = ("busy", "busy_end")
FRAMES, FRAME = 1000, bytes(128)

Find = Callable[[str], Path]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """find(name): the built peer; skips the test where its toolchain is missing."""
    folder = tmp_path_factory.mktemp("peers")
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made and name == "rust":
            target = rust.build()
            made.update({} if target is None else {name: target / "libbench_peer.so"})
        elif name not in made:
            made.update(build_peers(folder, sys.executable, (name,)))
        if name not in made:
            pytest.skip(f"the peer {name} cannot be built here")
        return made[name]

    return run


@pytest.fixture(params=CASES, ids=[f"{name}-{abi}" for name, abi in CASES])
def loaded(request: pytest.FixtureRequest, find: Find) -> Iterator[tuple[NrHost, str, Abi]]:
    """A host that has loaded a peer, the peer's name, and the ABI they speak. Their runtimes stay in the process."""
    name, abi = request.param
    file = find(name)
    with NrHost(env=host_environment(PEERS[name], sys.executable), leaks=False) as host:
        assert host.load(file, abi=abi) == Status.OK
        yield host, name, abi


def has(name: str, abi: Abi, entry: str) -> bool:
    """Whether that peer answers that entry."""
    return entry in PEERS[name].entries[abi]


def test_a_peer_echoes_by_every_entry(loaded: tuple[NrHost, str, Abi]) -> None:
    host, name, abi = loaded
    for entry in PEERS[name].entries[abi]:
        if entry in (*STREAMS, *BUSY, "echo"):
            continue
        for size in SIZES:
            if abi == "v2":
                answers = [
                    host.call(entry, body_size=size),
                    host.call(entry, door="id", id=host.resolve(entry), body_size=size),
                ]
            elif entry == "raw":
                answers = [host.call(entry, door="raw", body_size=size)]
            else:
                answers = [host.call(entry, method="GET", path="/p", headers=[("a", "1"), ("b", "")], body_size=size)]
            for answered in answers:
                reply = answered.reply
                assert (entry, reply.status, reply.length) == (entry, Status.OK, size)
                assert reply.crc32 == pattern_crc32(size)


def test_a_peer_streams_a_thousand_frames(loaded: tuple[NrHost, str, Abi]) -> None:
    host, name, abi = loaded
    for entry in STREAMS:
        if not has(name, abi, entry):
            assert host.call(entry, kind="stream").handle == Status.INVALID
            continue
        answered = host.stream(entry, body=b"")
        assert [frame.status for frame in answered.frames] == [Status.OK] * FRAMES + [Status.STREAM_END]
        assert {frame.data for frame in answered.frames[:-1]} == {FRAME}
        assert answered.frames[-1].length == 0


def test_a_peer_sends_frames_back(loaded: tuple[NrHost, str, Abi]) -> None:
    host, name, abi = loaded
    if not has(name, abi, "echo"):
        assert host.call("echo", kind="stream").handle == Status.INVALID
        return
    streams = [host.submit("echo", kind="stream").sid for _ in range(2)]
    for size in SIZES:
        for sid in streams:
            assert host.stream_data(sid, bytes(size)) == Status.OK
            frame = host.wait(sid, frames=1).frames[0]
            assert (frame.status, frame.length, frame.crc32) == (Status.OK, size, zlib.crc32(bytes(size)))
    for sid in streams:
        assert host.stream_close(sid) == Status.OK
        last = host.wait(sid).frames[-1]
        assert (last.status, last.length) == (Status.STREAM_END, 0)


def test_a_peer_keeps_python_busy_until_it_is_told(loaded: tuple[NrHost, str, Abi]) -> None:
    host, name, abi = loaded
    if not has(name, abi, "busy"):
        assert host.call("busy", kind="stream").handle == Status.INVALID
        return
    for _ in range(3):
        sid = host.submit("busy", kind="stream").sid
        assert host.wait(sid, frames=1).data == [b"computing"]
        assert host.call("sync", body_size=11).reply.length == 11
        assert host.call("busy_end").reply.status == Status.OK
        assert host.wait(sid).frames[-1].status == Status.STREAM_END


def test_what_a_peer_does_not_have_it_refuses(loaded: tuple[NrHost, str, Abi]) -> None:
    host, _, _ = loaded
    for entry in ("no such entry", ""):
        refused = host.call(entry)
        assert (refused.handle, refused.frames) == (Status.INVALID, [])


@pytest.mark.parametrize("name", [name for name in PEERS if name not in NOT_TWICE])
def test_a_copy_of_a_peer_is_another_library(name: str, find: Find, tmp_path: Path) -> None:
    copy = Path(shutil.copy(find(name), tmp_path / "copy.so"))
    with NrHost(env=host_environment(PEERS[name], sys.executable), leaks=False) as host:
        assert host.load(find(name)) == Status.OK
        assert host.load(copy, plugin="copy") == Status.OK
        assert str(copy) in Path(f"/proc/{host.pid}/maps").read_text()
        for plugin in ("copy", "main"):
            assert host.call("sync", body_size=11, plugin=plugin).reply.length == 11


def test_a_cffi_that_cannot_start_says_so(find: Find) -> None:
    file = find("cffi")
    with NrHost(leaks=False) as host:
        assert host.load(file) == Status.ERR
        assert "_cffi_backend" in host.stderr_tail()
