"""The job without a host: load, ask, export."""

from collections.abc import Iterator
from pathlib import Path

import access_log
import orjson
import pytest

from nylon_ring_py import HandlerError, Request, Status

SAMPLE = Path(__file__).with_name("sample.ndjson").read_bytes()


@pytest.fixture(autouse=True)
def database() -> Iterator[None]:
    access_log.connect()
    yield
    access_log.disconnect()


def test_figures() -> None:
    assert orjson.loads(access_log.ingest(SAMPLE)) == {"stored": 5}
    rows = orjson.loads(access_log.slowest(Request(query="limit=2")))
    assert [row["path"] for row in rows] == ["/orders", "/products"]
    assert rows[0] == {"path": "/orders", "count": 3, "errors": 1, "p50": 14.0, "p90": 250.8, "p99": 304.08}


def test_since_leaves_older_records_out() -> None:
    access_log.ingest(SAMPLE)
    rows = orjson.loads(access_log.slowest(Request(query="since=1700000003")))
    assert {row["path"]: row["count"] for row in rows} == {"/orders": 1, "/health": 1}


def test_export_goes_on_over_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "EXPORT_PAGE", 2)
    access_log.ingest(SAMPLE)
    frames = [orjson.loads(frame) for frame in access_log.export(Request(query="path=/orders"))]
    assert [frame["time"] for frame in frames] == [1700000000.0, 1700000001.5, 1700000003.0]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"time": 1}', b'{"time":1,"path":"/","status":200,"duration_ms":"x"}'])
def test_one_bad_line_stores_nothing(line: bytes) -> None:
    with pytest.raises(HandlerError, match="line 6") as caught:
        access_log.ingest(SAMPLE + line)
    assert caught.value.status is Status.INVALID
    assert orjson.loads(access_log.slowest(Request())) == []


@pytest.mark.parametrize("query", ["limit=many", "limit=-1", "since=nan", "since=inf"])
def test_a_bad_number_is_refused(query: str) -> None:
    with pytest.raises(HandlerError) as caught:
        access_log.slowest(Request(query=query))
    assert caught.value.status is Status.INVALID
