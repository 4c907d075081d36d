"""A stream of a plugin, as its reader holds it."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from nylon_ring_py.host._calls import StreamCall
from nylon_ring_py.host._types import Body, StreamOwner
from nylon_ring_py.host.reply import Reply


class Stream:
    """Frames of one call of a stream entry, in order; iterate over it. `Host.call_stream` makes it.

    The last frame is among them: `Status.STREAM_END`, mostly without bytes, or the status it failed with. One thread
    reads at a time; any may send. Leaving its `with` block, or `close`, gives it up.

    Attributes:
        sid: its number, for `Host.send_stream_data` and `Host.close_stream`.
    """

    def __init__(self, instance: StreamOwner, call: StreamCall, sid: int) -> None:
        self.sid = sid
        self._instance = instance
        self._call = call

    def recv(self, timeout_s: float | None = None) -> Reply | None:
        """The next frame.

        Args:
            timeout_s: seconds to wait; None: as long as it takes.

        Returns:
            The frame; None behind the last one, and after `close`.

        Raises:
            CallTimeoutError: none came in time; the stream goes on.
            HostClosedError: the plugin was unloaded, and had not ended the stream.
            CallFailedError: the host could not take a frame.
        """
        return self._call.next(timeout_s)

    def send(self, data: Body) -> None:
        """Send a frame to the plugin; see `Host.send_stream_data`."""
        self._instance.send_stream_data(self.sid, data)

    def close_input(self) -> None:
        """Tell the plugin that no more frames will be sent; what it still answers is read as before."""
        self._instance.close_stream(self.sid)

    def close(self) -> None:
        """Give the stream up: frames that were not read are lost. Does nothing where it has ended.

        A v1 plugin is told by `stream_close`; a v2 plugin's next frame is answered Invalid.
        """
        if not self._call.dropped:
            self._call.drop()
            if not self._call.over and self._instance.drop_stream(self.sid):
                self._instance.close_dropped()

    def __iter__(self) -> Iterator[Reply]:
        return self

    def __next__(self) -> Reply:
        frame = self.recv()
        if frame is None:
            raise StopIteration
        return frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Runs anywhere, also inside a send of this plugin's: the plugin is told by the next call, not here.
        call = getattr(self, "_call", None)
        if call is not None and not call.dropped:
            call.dropped = True
            if not call.over:
                self._instance.drop_stream(self.sid)
