"""State lives as long as its call, and belongs to it alone."""

from __future__ import annotations

from conformance.answers import OK, expect
from conformance.case import case
from conformance.pair import Pair, eventually


@case()
def set_and_get(pair: Pair) -> None:
    """What a call sets it reads back: text, all byte values, 64 KiB."""
    for body in (b"value", bytes(range(256)), b"x" * 65536):
        pair.call("state", body).expect_reply(OK, body, f"state of {len(body)} bytes")


@case()
def unseen_by_others(pair: Pair) -> None:
    """No call sees what another has set, after its reply or while others run."""
    for number in range(20):
        pair.call("state", b"mine").expect_reply(OK, b"mine", "state")
        pair.call("state_peek").expect_reply(OK, b"", f"state_peek {number}")
    pair.storm("state", 400, threads=8).expect_all_answered("a storm of state", calls=400)


@case(needs=("state",))
def cleared(pair: Pair) -> None:
    """The host holds nothing once the calls have had their replies."""
    pair.storm("state", 200).expect_all_answered("a storm of state", calls=200)
    eventually(lambda: pair.state_count() == 0, "state_count is 0 after the replies")
    expect(pair.state_count(), 0, "state_count")
