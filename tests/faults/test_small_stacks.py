"""A host whose threads have 64 KiB of stack, for everything: no Python runs on them, and every call is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import StartHost
from faults.life import check_all_work
from nrhost import Abi, Status

SMALL = 64 << 10


@pytest.mark.parametrize("abi", ["v1", "v1-raw", "v2"])
def test_a_life_on_threads_with_little_stack(start_host: StartHost, plugin: Path, abi: Abi) -> None:
    host = start_host(env={"NYLON_RING_V1_LAYOUT": "raw" if abi == "v1-raw" else "seed"})
    for _ in range(2):
        assert host.load(plugin, abi=abi, on="thread", stack=SMALL) == Status.OK
        check_all_work(host, stack=SMALL)
        assert host.call("deep", on="thread", stack=SMALL).reply.text.startswith("RecursionError:")
        host.shutdown(on="thread", stack=SMALL)
        host.unload()


@pytest.mark.parametrize("door", ["raw", "id"])
def test_other_doors(start_host: StartHost, plugin: Path, door: str) -> None:
    host = start_host()
    assert host.load(plugin, abi="v2" if door == "id" else "v1", on="thread", stack=SMALL) == Status.OK
    for entry in ("raw_sync", "raw", "sync", "coroutine", "callback_sync"):
        number = host.resolve(entry, on="thread", stack=SMALL) if door == "id" else 0
        call = host.call(entry, door=door, id=number, body=b"body", on="thread", stack=SMALL)  # type: ignore[arg-type]  # one of its words
        assert call.reply.data == b"body", entry


@pytest.mark.parametrize("mode", ["reenter", "join"])
def test_calls_from_inside_send_result(start_host: StartHost, plugin: Path, mode: str) -> None:
    host = start_host()
    assert host.load(plugin) == Status.OK
    host.callback(mode, entry="raw_sync", depth=2)  # type: ignore[arg-type]  # likewise
    check_all_work(host, stack=SMALL)
    report = host.callback_report()
    assert report["inner_replies"] == report["inner_calls"] > 0
    host.callback("none")
