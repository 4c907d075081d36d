"""`FakeHost`: a plugin to call from threads, in this process."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from nylon_ring_py.host._calls import StreamCall, UnaryCall, wait_for_reply
from nylon_ring_py.host._types import Body, Headers, Text
from nylon_ring_py.host.errors import HostError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.host.stream import Stream
from nylon_ring_py.plugin import Plugin
from nylon_ring_py.testing._instance import Abi, Clock, CoreRequest, FakeInstance
from nylon_ring_py.testing._ledger import PromiseBroken, RecordedCall

DEFAULT_SETTLE_S = 10.0
"""How long `settle` waits: far longer than a test's call should take, and short enough to see it fail."""


class BaseFakeHost:
    """What `FakeHost` and `AsyncFakeHost` share."""

    _instance: FakeInstance

    @property
    def plugin(self) -> Plugin:
        """The plugin."""
        return self._instance.plugin

    @property
    def abi(self) -> Abi:
        """Which host this looks like to the plugin: `v1` or `v2`."""
        return self._instance.abi

    @property
    def closed(self) -> bool:
        """Whether the plugin is unloaded."""
        return self._instance.closed

    @property
    def in_progress(self) -> int:
        """Calls and streams that have not ended."""
        return self._instance.in_progress

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call so far, in order, with all that came for it."""
        return list(self._instance.ledger.calls.values())

    @property
    def replies(self) -> list[tuple[int, Reply]]:
        """Every reply so far with its sid, in the order in which the plugin sent them."""
        return list(self._instance.ledger.replies)

    @property
    def refused_frames(self) -> int:
        """How often a frame was answered Backpressure, each attempt counted; see `capacity`."""
        return self._instance.core.refused_frames

    def send_stream_data(self, sid: int, data: Body) -> None:
        """Send a frame to an open stream's input. Raises as `nylon_ring_py.host.Host.send_stream_data`."""
        self._instance.send_stream_data(sid, data)

    def close_stream(self, sid: int) -> None:
        """End a stream's input. What it still answers is read as before. Raises as `send_stream_data`."""
        self._instance.close_stream(sid)

    def advance(self, seconds: float) -> None:
        """Move the time that stands: everything due by then happens, on the threads where it always does.

        Coroutines first finish the steps that are at hand, then time jumps, then they run as far as they come: who was
        about to sleep sleeps before the jump, and what was due has happened. Of the rest (a deadline that answers a
        call) await what you expect, by `call`, `recv` or `settle`. Whoever is woken sees the new time, and what he
        puts off counts from there: ten ticks of a second are ten jumps.

        Args:
            seconds: how far, not negative.

        Raises:
            RuntimeError: time runs by itself: the host was not made with ``clock="manual"``, or is closed.
            ValueError: backwards.
        """
        self._instance.advance(seconds)

    def _finish(self, error: BaseException | None) -> None:
        """Check the promise; an error of the test's own stands over what is found, which becomes a note of it."""
        try:
            self._instance.ledger.check()
        except PromiseBroken as broken:
            if error is None:
                raise
            error.add_note(str(broken))

    def _check_stream(self, entry: str) -> None:
        if entry in self.plugin.entries and not self._instance.is_stream(entry):
            raise HostError(
                f"entry {entry!r} of {self._instance.path} is no stream: a host that reads it as one waits for its end "
                "for ever. Use call"
            )


class FakeHost(BaseFakeHost):
    """A host for one plugin in this process. Any thread may call it, several at once.

    Only the host is made up: calls take the way they take in a built plugin, with its queue, workers, streams and
    deadlines. A context manager; leaving it shuts the plugin down, runs on_shutdown, and checks that every call that
    was taken had exactly one terminal reply. Then the same `Plugin` can be given to another FakeHost.

    Args:
        plugin: not loaded by another host now.
        abi: which host this looks like: `v1`, with requests, or `v2`, with none and with Backpressure.
        capacity: v2 only: frames of a stream that may wait for their reader before the plugin is told Backpressure;
            None for any number.
        clock: `real`, or `manual`: deadlines stand still, and `advance` moves them. Every plugin of the process has
            the same clock.

    Raises:
        RuntimeError: the plugin is loaded already, a FakeHost with another clock is open, or the process was forked
            from one that had loaded a plugin.
        TypeError, ValueError: an argument does not fit.
        BaseException: what an on_init hook raised; nothing is loaded then.
    """

    def __init__(self, plugin: Plugin, *, abi: Abi = "v1", capacity: int | None = None, clock: Clock = "real") -> None:
        self._instance = FakeInstance(plugin, abi, capacity, clock)

    def call(
        self,
        entry: str,
        body: Body = b"",
        *,
        method: Text = "",
        path: Text = "",
        query: Text = "",
        headers: Headers = (),
        timeout_s: float | None = None,
    ) -> Reply:
        """Call an entry, and wait for its reply; of a stream, for its first frame.

        Args:
            entry: its name.
            body: the payload; str in UTF-8.
            method, path, query, headers: the request (v1 only); str is sent in UTF-8, bytes as they are.
            timeout_s: seconds to wait, by the real clock; None: as long as it takes.

        Returns:
            The reply, whatever its status: an entry's own failure is a reply.

        Raises:
            RefusedError: the plugin did not take the call: an unknown entry, a full queue.
            CallTimeoutError: no reply in time. The call is given up, and still recorded.
            HostClosedError: the plugin is unloaded.
            HostError: a request with ABI v2.
        """
        return self._call(entry, self._instance.request(method, path, query, headers), body, timeout_s)

    def call_raw(self, entry: str, body: Body = b"", *, timeout_s: float | None = None) -> Reply:
        """`call` without a request: the handler's has no metadata. Raises as `call`."""
        return self._call(entry, None, body, timeout_s)

    def call_stream(
        self,
        entry: str,
        body: Body = b"",
        *,
        method: Text = "",
        path: Text = "",
        query: Text = "",
        headers: Headers = (),
    ) -> Stream:
        """Call a stream entry. Arguments and errors are those of `call`.

        Returns:
            The stream: iterate over its frames, the last one included; `send`, `close_input`, `close`.

        Raises:
            HostError: the entry is no stream.
        """
        self._check_stream(entry)
        instance = self._instance
        request = instance.request(method, path, query, headers)
        call, sid = instance.start(lambda number: _FrameQueue(instance, number), entry, request, body)
        return Stream(instance, call, sid)

    def settle(self, timeout_s: float | None = DEFAULT_SETTLE_S) -> None:
        """Wait until every call made so far has its terminal reply: nobody forgot to answer, no stream is left open.

        Args:
            timeout_s: seconds to wait, by the real clock; None: as long as it takes.

        Raises:
            PromiseBroken: some had none; the message names them.
        """
        self._instance.ledger.settle(timeout_s)

    def unload(self) -> None:
        """Shut the plugin down, as the end of the ``with`` block does, without the check. A second one does nothing."""
        self._instance.unload()

    def _call(self, entry: str, request: CoreRequest | None, body: Body, timeout_s: float | None) -> Reply:
        instance = self._instance
        call, sid = instance.start(lambda _: UnaryCall(), entry, request, body)
        reply = call.reply or wait_for_reply(instance, call, sid, timeout_s, entry)
        if instance.is_stream(entry):
            instance.forsake(sid)
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()
        self._finish(error)


class _FrameQueue(StreamCall):
    """Tells the host of each frame that was read: its capacity is counted there."""

    __slots__ = ("_instance", "_sid")

    def __init__(self, instance: FakeInstance, sid: int) -> None:
        super().__init__(0)
        self._instance = instance
        self._sid = sid

    def next(self, timeout_s: float | None) -> Reply | None:
        """See `StreamCall`."""
        frame = super().next(timeout_s)
        if frame is not None:
            self._instance.core.read(self._sid)
        return frame
