"""The exception log: one logger per plugin, a traceback per exception, a count for what was left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from nylon_ring_py.logs import ExceptionLog, last_resort


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def written() -> Iterator[_Records]:
    handler, logger = _Records(), logging.getLogger("nylon_ring.shop")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def log(clock: _Clock) -> ExceptionLog:
    return ExceptionLog("shop", per_second=2, clock=clock)


def _raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as exc:
        return exc


def test_a_record_has_place_sid_type_and_traceback(log: ExceptionLog, written: _Records) -> None:
    exc = _raised("50% off")
    log.exception("entry 'buy'", 7, exc)
    (record,) = written.records
    assert record.name == "nylon_ring.shop"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "entry 'buy' raised ValueError (sid 7)"
    assert record.exc_info is not None
    assert record.exc_info[1] is exc
    text = logging.Formatter().format(record)
    assert "in _raised" in text
    assert "ValueError: 50% off" in text


def test_a_hook_has_no_sid(log: ExceptionLog, written: _Records) -> None:
    log.exception("on_shutdown bye", None, _raised("x"))
    assert written.messages == ["on_shutdown bye raised ValueError"]


def test_the_root_logger_is_left_alone(log: ExceptionLog, written: _Records) -> None:
    before = (logging.root.level, list(logging.root.handlers))
    log.exception("x", 1, _raised("x"))
    assert (logging.root.level, logging.root.handlers) == before


def test_a_flood_is_counted_and_the_count_is_written_later(log: ExceptionLog, written: _Records, clock: _Clock) -> None:
    for sid in range(7):
        log.exception("entry 'a'", sid, _raised("x"))
    assert written.messages == ["entry 'a' raised ValueError (sid 0)", "entry 'a' raised ValueError (sid 1)"]
    clock.now += 1.0
    log.exception("entry 'b'", 9, _raised("y"))
    assert written.messages[2:] == [
        "entry 'a' raised ValueError 5 more times; their tracebacks were left out",
        "entry 'b' raised ValueError (sid 9)",
    ]


def test_nothing_is_left_out_twice(log: ExceptionLog, written: _Records, clock: _Clock) -> None:
    for _ in range(3):
        log.exception("entry 'a'", None, _raised("x"))
    log.flush()
    log.flush()
    clock.now += 1.0
    log.exception("entry 'a'", None, _raised("x"))
    assert len(written.messages) == 4
    assert written.messages[2] == "entry 'a' raised ValueError 1 more times; their tracebacks were left out"


def test_places_and_types_are_limited_apart(log: ExceptionLog, written: _Records) -> None:
    for where in ("a", "b"):
        for exc in (_raised("x"), KeyError("k")):
            for _ in range(2):
                log.exception(where, None, exc)
    assert len(written.messages) == 8


def test_a_new_second_writes_again(log: ExceptionLog, written: _Records, clock: _Clock) -> None:
    for _ in range(3):
        for _ in range(2):
            log.exception("a", None, _raised("x"))
        clock.now += 1.0
    assert len(written.messages) == 6


def test_a_handler_that_comes_back_does_not_deadlock(log: ExceptionLog, written: _Records) -> None:
    class Again(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "inner" not in record.getMessage():
                log.exception("inner", None, _raised("y"))

    logger = logging.getLogger("nylon_ring.shop")
    again = Again()
    logger.addHandler(again)
    try:
        log.exception("outer", None, _raised("x"))
    finally:
        logger.removeHandler(again)
    assert sorted(written.messages) == ["inner raised ValueError", "outer raised ValueError"]


def test_a_broken_log_is_told_on_standard_error(log: ExceptionLog, capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit("no disk")

    logger, broken = logging.getLogger("nylon_ring.shop"), Broken()
    logger.addHandler(broken)
    try:
        log.exception("entry 'a'", 3, _raised("x"))
    finally:
        logger.removeHandler(broken)
    assert capfd.readouterr().err.endswith(
        "nylon_ring.shop: entry 'a' raised ValueError (sid 3); logging it raised SystemExit\n"
    )


def test_the_last_resort_survives_a_closed_descriptor() -> None:
    saved = os.dup(2)
    os.close(2)
    try:
        last_resort("nobody reads this")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
