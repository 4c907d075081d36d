"""What a FakeHost makes of a promise that was kept, or broken in any way."""

from __future__ import annotations

import pytest

from nylon_ring_py import Status
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.testing import PromiseBroken
from nylon_ring_py.testing._ledger import Ledger


def ledger_with(*statuses: Status, is_stream: bool = False) -> Ledger:
    ledger = Ledger()
    ledger.begin(1, "entry", is_stream)
    for status in statuses:
        ledger.reply(1, Reply(b"data", status))
    return ledger


def test_a_kept_promise() -> None:
    ledger_with(Status.OK).check()
    ledger_with(Status.ERR).check()
    ledger_with(Status.OK, Status.OK, Status.STREAM_END, is_stream=True).check()
    refused = ledger_with()
    refused.refuse(1, Status.INVALID)
    refused.check()
    dropped = ledger_with(Status.OK, is_stream=True)
    dropped.drop(1)
    dropped.check()


@pytest.mark.parametrize(
    ("ledger", "message"),
    [
        (ledger_with(), r"sid 1 \(entry 'entry'\) was taken, and its terminal reply is lost; it got nothing"),
        (ledger_with(Status.OK, is_stream=True), r"its terminal reply is lost; it got status|Status\.OK b'data'"),
        (ledger_with(Status.OK, Status.ERR), r"ended with Status\.OK b'data', and then got Status\.ERR b'data'"),
        (
            ledger_with(Status.STREAM_END, *[Status.OK] * 5, is_stream=True),
            r"ended with Status\.STREAM_END b'data', and then got (Status\.OK b'data'(, )?){3} and 2 more",
        ),
    ],
)
def test_a_broken_promise(ledger: Ledger, message: str) -> None:
    with pytest.raises(PromiseBroken, match=message) as caught:
        ledger.check()
    assert isinstance(caught.value, AssertionError)


def test_an_answer_that_nobody_may_send() -> None:
    refused = ledger_with(Status.OK)
    refused.refuse(1, Status.ERR)
    with pytest.raises(PromiseBroken, match=r"was refused with Status\.ERR, and got Status\.OK b'data'"):
        refused.check()
    stranger = Ledger()
    stranger.reply(5, Reply(bytes(100)))
    with pytest.raises(PromiseBroken, match="sid 5, which no call has, got"):
        stranger.check()


def test_many_broken_calls_are_counted() -> None:
    ledger = Ledger()
    for sid in range(25):
        ledger.begin(sid, "entry", False)
    with pytest.raises(PromiseBroken, match="… and 15 more"):
        ledger.check()
