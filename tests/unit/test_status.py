"""Statuses, responses, and the table from exceptions to what a host is told."""

from __future__ import annotations

import pickle

import pytest

from nylon_ring_py import HandlerError, NylonRingError, RegistrationError, Response, Status
from nylon_ring_py.errors import MAX_MESSAGE_BYTES, describe_exception
from nylon_ring_py.status import sendable_status


def test_numbers_are_those_of_the_abi() -> None:
    assert {status.name: int(status) for status in Status} == {
        "OK": 0,
        "ERR": 1,
        "INVALID": 2,
        "UNSUPPORTED": 3,
        "STREAM_END": 4,
        "PANIC": 5,
        "BACKPRESSURE": 6,
    }


def test_exactly_the_statuses_of_abi_v1_can_be_sent() -> None:
    assert [int(status) for status in Status if status.sendable] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("status", [Status.PANIC, Status.BACKPRESSURE, 5, 6])
def test_a_status_only_hosts_give_is_refused_with_a_reason(status: int) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent: .*send Status\.ERR"):
        Response(b"", status)


@pytest.mark.parametrize("status", [7, -1, 2**32])
def test_an_unknown_number_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=f"no status {status}"):
        sendable_status(status)


@pytest.mark.parametrize("status", [None, "OK", 1.0, True])
def test_a_status_is_an_integer(status: object) -> None:
    with pytest.raises(TypeError, match="a status is"):
        sendable_status(status)  # type: ignore[arg-type]


def test_a_response_takes_a_number_for_its_status() -> None:
    response = Response("end", 4)
    assert response.status is Status.STREAM_END
    assert response == Response("end", Status.STREAM_END)
    assert response != Response("end")
    assert repr(response) == "Response('end', Status.STREAM_END)"


def test_a_response_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Response(b"").body = b""  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [Status.ERR, Status.INVALID, Status.UNSUPPORTED])
def test_a_handler_error_gives_its_status_and_bare_message(status: Status) -> None:
    assert describe_exception(HandlerError(status, "no such order")) == (int(status), b"no such order")


@pytest.mark.parametrize("status", [Status.OK, Status.STREAM_END, Status.PANIC, Status.BACKPRESSURE])
def test_a_handler_error_is_a_failure_that_can_be_sent(status: Status) -> None:
    with pytest.raises(ValueError, match="cannot"):
        HandlerError(status, "text")


def test_a_handler_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(HandlerError(Status.INVALID, "bad")))
    assert (error.status, error.message, str(error)) == (Status.INVALID, "bad", "bad")


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (KeyError("k"), "KeyError: 'k'"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (RegistrationError("x"), "RegistrationError: x"),
        (ValueError("caf\u00e9"), "ValueError: caf\u00e9"),
        (ValueError("\ud800"), "ValueError: \\ud800"),
    ],
)
def test_any_other_exception_is_err_with_its_type(exc: BaseException, text: str) -> None:
    assert describe_exception(exc) == (int(Status.ERR), text.encode())


def test_an_exception_of_the_package_says_its_class_status() -> None:
    class Refused(NylonRingError):
        status = Status.INVALID

    assert describe_exception(Refused("no")) == (int(Status.INVALID), b"Refused: no")


def test_an_exception_of_the_package_is_err_until_a_class_says_another() -> None:
    assert NylonRingError.status is RegistrationError("x").status is Status.ERR


class _RaisesInStr(Exception):
    def __str__(self) -> str:
        raise SystemExit


class _GivesNoStr(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class _Text(str):
    def __format__(self, spec: str) -> str:
        raise OSError

    def __str__(self) -> str:
        raise OSError


class _GivesHostileStr(Exception):
    def __str__(self) -> str:
        return _Text("text")


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (_RaisesInStr(), b"_RaisesInStr: (its message cannot be read: SystemExit)"),
        (_GivesNoStr(), b"_GivesNoStr: (its message cannot be read: TypeError)"),
        (_GivesHostileStr(), b"_GivesHostileStr: text"),
    ],
)
def test_a_broken_message_does_no_harm(exc: BaseException, text: bytes) -> None:
    assert describe_exception(exc) == (int(Status.ERR), text)


def test_a_lying_type_does_no_harm() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise OSError

    class Hostile(Exception, metaclass=Meta):
        pass

    assert describe_exception(Hostile("x")) == (int(Status.ERR), b"an exception that cannot be described")


@pytest.mark.parametrize("status", [Status.OK, Status.STREAM_END, Status.PANIC, 77, None])
def test_a_handler_error_that_was_changed_later_stays_a_failure(status: object) -> None:
    error = HandlerError(Status.INVALID, "x")
    error.status = status  # type: ignore[assignment]
    assert describe_exception(error) == (int(Status.ERR), b"x")


def test_a_subclass_that_forgets_to_call_init_is_described() -> None:
    class Forgetful(HandlerError):
        def __init__(self) -> None:
            pass

    assert describe_exception(Forgetful()) == (int(Status.ERR), b"")


@pytest.mark.parametrize("character", ["x", "\u00e9", "\u20ac", "\U0001f600"])
def test_a_long_message_is_cut_between_characters_and_says_so(character: str) -> None:
    _, data = describe_exception(ValueError(character * 200_000))
    assert MAX_MESSAGE_BYTES - 4 < len(data) <= MAX_MESSAGE_BYTES
    assert data.decode().endswith("(cut, 200012 characters in all)")


@pytest.mark.parametrize("extra", [0, 1])
def test_the_limit_itself_is_not_cut(extra: int) -> None:
    _, data = describe_exception(HandlerError(Status.ERR, "x" * (MAX_MESSAGE_BYTES + extra)))
    assert len(data) == MAX_MESSAGE_BYTES
    assert data.endswith(b")") is bool(extra)
