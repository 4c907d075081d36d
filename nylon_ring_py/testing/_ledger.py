"""What was called and what came back, and whether the promise was kept: one terminal reply for each call that was
taken, nothing after it, nothing for a call that was refused.
"""

from __future__ import annotations

import threading

from nylon_ring_py.errors import NylonRingError
from nylon_ring_py.host._calls import Deadline
from nylon_ring_py.host.errors import status_name
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.status import Status

_NAMED = 10
"""Broken calls that a message names; of more it gives the number."""


class PromiseBroken(NylonRingError, AssertionError):
    """A call lost its reply, had one too many, or one that nobody asked for. The message names the calls."""


class RecordedCall:
    """One call of a `FakeHost`, and all that came for it.

    Attributes:
        sid: its number.
        entry: the name that was called.
        is_stream: whether the entry is a stream: its first reply that is not `Status.OK` is its last. Of any other
            entry the first is.
        refused: what the plugin answered instead of taking the call; None where it took it.
        replies: what the plugin sent for it, in order.
        dropped: whether its reader has gone, and the plugin is told so when it sends (ABI v2): then it owes nothing.
    """

    __slots__ = ("dropped", "entry", "is_stream", "refused", "replies", "sid")

    def __init__(self, sid: int, entry: str, is_stream: bool) -> None:
        self.sid = sid
        self.entry = entry
        self.is_stream = is_stream
        self.refused: Status | None = None
        self.replies: list[Reply] = []
        self.dropped = False

    @property
    def ended(self) -> bool:
        """Whether nothing more may come: it has its terminal reply, was refused, or is dropped."""
        return self.refused is not None or self.dropped or any(map(self.is_terminal, self.replies))

    def is_terminal(self, reply: Reply) -> bool:
        """Whether a reply ends this call."""
        return not self.is_stream or reply.status != Status.OK

    def fault(self) -> str | None:
        """What is wrong with it, now that nothing more will come; None where all is well."""
        name = f"sid {self.sid} (entry {self.entry!r})"
        if self.refused is not None:
            return (
                f"{name} was refused with {status_name(self.refused)}, and got {self._said(0)}"
                if self.replies
                else None
            )
        last = next((at for at, reply in enumerate(self.replies) if self.is_terminal(reply)), None)
        if last is None:
            return None if self.dropped else f"{name} was taken, and its terminal reply is lost; it got {self._said(0)}"
        if last + 1 == len(self.replies):
            return None
        return f"{name} ended with {_shown(self.replies[last])}, and then got {self._said(last + 1)}"

    def _said(self, start: int) -> str:
        rest = self.replies[start:]
        more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
        return (", ".join(map(_shown, rest[:3])) + more) or "nothing"

    def __repr__(self) -> str:
        return f"RecordedCall(sid={self.sid}, entry={self.entry!r}, refused={self.refused!r}, replies={self.replies!r})"


class Ledger:
    """Every call of one host. Any thread."""

    def __init__(self) -> None:
        self.calls: dict[int, RecordedCall] = {}
        self.replies: list[tuple[int, Reply]] = []
        self._changed = threading.Condition()

    def begin(self, sid: int, entry: str, is_stream: bool) -> None:
        """A call is about to be made: replies may come before the plugin has said that it takes it."""
        self.calls[sid] = RecordedCall(sid, entry, is_stream)

    def refuse(self, sid: int, status: int) -> None:
        """The plugin did not take it."""
        self._note(sid, Status(status), False)

    def drop(self, sid: int) -> None:
        """Its reader has gone, and the plugin is told."""
        self._note(sid, None, True)

    def forget(self, sid: int) -> None:
        """The call was never made."""
        self.calls.pop(sid, None)

    def reply(self, sid: int, reply: Reply) -> None:
        """The plugin has sent something."""
        with self._changed:
            self.replies.append((sid, reply))
            call = self.calls.get(sid)
            if call is not None:
                call.replies.append(reply)
            self._changed.notify_all()

    def open_calls(self) -> list[RecordedCall]:
        """The calls that were taken and have not ended."""
        return [call for call in list(self.calls.values()) if not call.ended]

    def settle(self, timeout_s: float | None) -> None:
        """See `FakeHost.settle`."""
        deadline = Deadline(timeout_s)
        with self._changed:
            while open_calls := self.open_calls():
                left_s = deadline.left_s
                if left_s == 0:
                    names = [f"sid {call.sid} (entry {call.entry!r}) got {call._said(0)}" for call in open_calls]
                    raise PromiseBroken(f"{len(names)} calls had no terminal reply in {timeout_s} s: {_listed(names)}")
                self._changed.wait(left_s)

    def check(self) -> None:
        """Look at everything, now that nothing more will come.

        Raises:
            PromiseBroken: with what is wrong.
        """
        faults = [fault for call in self.calls.values() if (fault := call.fault()) is not None]
        faults += [
            f"sid {sid}, which no call has, got {_shown(reply)}" for sid, reply in self.replies if sid not in self.calls
        ]
        if faults:
            raise PromiseBroken(f"the plugin broke its promise to the host: {_listed(faults)}")

    def _note(self, sid: int, refused: Status | None, dropped: bool) -> None:
        with self._changed:
            call = self.calls[sid]
            call.refused, call.dropped = refused, dropped
            self._changed.notify_all()


def _shown(reply: Reply) -> str:
    data = repr(reply.data[:40]) + ("…" if len(reply.data) > 40 else "")
    return f"{status_name(reply.status)} {data}"


def _listed(faults: list[str]) -> str:
    more = [f"… and {len(faults) - _NAMED} more"] if len(faults) > _NAMED else []
    return "; ".join(faults[:_NAMED] + more)
