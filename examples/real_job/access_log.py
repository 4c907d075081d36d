"""Figures from access logs: records in, percentiles by path out."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Lock

import numpy
import orjson

from nylon_ring_py import HandlerError, Plugin, Request, Status

plugin = Plugin("access_log", version="1.0.0")

SCHEMA = "CREATE TABLE IF NOT EXISTS hit (time REAL, path TEXT, status INTEGER, duration_ms REAL)"
COLUMNS = ("time", "path", "status", "duration_ms")
EXPORT_PAGE = 500


class Store:
    """One connection for all worker threads, so that a database in memory is the same for all; used under a lock."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute(SCHEMA)
        self._lock = Lock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done inside is kept, or nothing if it raises."""
        with self._lock, self._connection:
            yield self._connection

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


_open: list[Store] = []


@plugin.on_init
def connect() -> None:
    """Open the database when the host loads the plugin: if that fails, the load does, and says why."""
    _open.append(Store(os.environ.get("ACCESS_LOG_DB", ":memory:")))


@plugin.on_shutdown
def disconnect() -> None:
    """Close it when the host unloads the plugin."""
    _open.pop().close()


@plugin.handle_raw("ingest")
def ingest(payload: bytes) -> bytes:
    """Store records, one JSON object a line; all of them or none."""
    records = [_record(number, line) for number, line in enumerate(payload.splitlines(), 1) if line.strip()]
    with _open[0].transaction() as database:
        database.executemany("INSERT INTO hit VALUES (?, ?, ?, ?)", records)
    return orjson.dumps({"stored": len(records)})


@plugin.handle("slowest")
def slowest(req: Request) -> bytes:
    """The slowest paths by their 99th percentile."""
    limit, since = _number(req, "limit", 10), _number(req, "since", 0)
    durations: dict[str, list[float]] = {}
    errors: dict[str, int] = {}
    with _open[0].transaction() as database:
        for path, status, duration_ms in database.execute(
            "SELECT path, status, duration_ms FROM hit WHERE time >= ?", (since,)
        ):
            durations.setdefault(path, []).append(duration_ms)
            errors[path] = errors.get(path, 0) + (status >= 500)
    rows = []
    for path, values in durations.items():
        p50, p90, p99 = numpy.percentile(values, (50, 90, 99)).round(3).tolist()
        rows.append({"path": path, "count": len(values), "errors": errors[path], "p50": p50, "p90": p90, "p99": p99})
    rows.sort(key=lambda row: row["p99"], reverse=True)
    return orjson.dumps(rows[: int(limit)])


@plugin.handle("export")
def export(req: Request) -> Iterator[bytes]:
    """Every record of a path, oldest first, in frames; the lock is free between two pages."""
    path, offset = req.args.first("path", "/"), 0
    while True:
        with _open[0].transaction() as database, closing(database.cursor()) as cursor:
            page = cursor.execute(
                "SELECT * FROM hit WHERE path = ? ORDER BY time, rowid LIMIT ? OFFSET ?", (path, EXPORT_PAGE, offset)
            ).fetchall()
        for record in page:
            yield orjson.dumps(dict(zip(COLUMNS, record, strict=True)))
        if len(page) < EXPORT_PAGE:
            return
        offset += EXPORT_PAGE


def _record(number: int, line: bytes) -> tuple[float, str, int, float]:
    try:
        match orjson.loads(line):
            case {"time": int() | float() as time, "path": str(path), "status": int(status), "duration_ms": duration}:
                return float(time), path, status, float(duration)
    except (TypeError, ValueError) as error:
        raise HandlerError(Status.INVALID, f"line {number}: {error}") from error
    raise HandlerError(Status.INVALID, f"line {number} needs {', '.join(COLUMNS)}")


def _number(req: Request, name: str, default: float) -> float:
    text = req.args.first(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:  # NaN fails this too
        raise HandlerError(Status.INVALID, f"{name} is {text!r}, but must be a number from 0 on")
    return value
