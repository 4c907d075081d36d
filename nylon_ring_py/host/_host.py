"""`Host`: a plugin to call from threads."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from nylon_ring_py.host._abi import NULL, CData, body_view, request_view
from nylon_ring_py.host._calls import FastCall, StreamCall, UnaryCall, wait_for_reply
from nylon_ring_py.host._functions import Abi
from nylon_ring_py.host._instance import Instance
from nylon_ring_py.host._types import Body, Headers, Text
from nylon_ring_py.host.errors import HostError, NoReplyError
from nylon_ring_py.host.reply import Reply
from nylon_ring_py.host.stream import Stream

DEFAULT_STREAM_CAPACITY = 64
"""Frames of a v2 stream that may wait for their reader before the plugin is told Backpressure."""


class BaseHost:
    """What `Host` and `AsyncHost` share: one instance, which `reload` replaces."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    @property
    def instance(self) -> Instance:
        """The instance that calls go to now. For the host's own tools."""
        return self._instance

    @property
    def name(self) -> str:
        """The plugin's name, as it says itself."""
        return self._instance.functions.name

    @property
    def version(self) -> str:
        """The plugin's version, as it says itself."""
        return self._instance.functions.version

    @property
    def abi(self) -> Abi:
        """What is spoken with the plugin: `v1`, `v1-raw` or `v2`."""
        return self._instance.functions.abi

    @property
    def path(self) -> str:
        """The plugin's file, as it was given."""
        return self._instance.path

    @property
    def closed(self) -> bool:
        """Whether the plugin is unloaded."""
        return self._instance.closed

    @property
    def in_progress(self) -> int:
        """Calls and streams that have not ended."""
        return self._instance.in_progress

    def entry_id(self, entry: str) -> int | None:
        """The number of an entry, for `call_id`.

        Returns:
            The number; None where the plugin does not know the entry, or speaks an ABI without numbers (v1).
        """
        return self._instance.entry_id(entry)

    def _request(self, method: Text, path: Text, query: Text, headers: Headers) -> tuple[CData, object]:
        if self._instance.functions.abi != "v2":
            return request_view(method, path, query, headers)
        if method or path or query or headers:
            raise HostError(
                f"{self.path} was loaded by ABI v2, which carries no method, path, query or headers: load it with "
                f"abi='v1' where it offers that, or put them into the body"
            )
        return NULL, None

    def _handle_by_id(self) -> CData:
        function = self._instance.functions.handle_by_id
        if function is None:
            raise HostError(f"{self.path} has no entries by number: call them by name")
        return function


class Host(BaseHost):
    """A loaded plugin. Any thread may call it, several at once. A context manager: leaving it unloads.

    What is still loaded when the interpreter ends is unloaded then.
    """

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        abi: Abi | None = None,
        stream_capacity: int = DEFAULT_STREAM_CAPACITY,
    ) -> Self:
        """Load a plugin and start it.

        Args:
            path: the plugin's file.
            abi: `v1` (five functions), `v1-raw` (six) or `v2`. None chooses: for a file made by build-plugin v1 in
                the layout that it was built for; else v2 where the file offers it; else v1.
            stream_capacity: frames of a v2 stream that may wait to be read; v1 has no way to hold a plugin back.

        Raises:
            PluginNotFoundError: no such file.
            LibraryError: the file cannot be opened as a shared library.
            NotAPluginError: it does not export the ABI's function, or that hands out nothing to call.
            AbiVersionError: it speaks another version than it exports.
            InitRefusedError: `init` failed; the plugin has written the reason to stderr.
            ValueError: an unknown abi, or a capacity below 1.
        """
        return cls(Instance(path, abi, stream_capacity))

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
        """Call an entry, and wait for its reply.

        Args:
            entry: its name.
            body: the payload; bytes-like memory is read in place, and must not change until the call has returned.
            method, path, query, headers: the request (v1 only); str is sent in UTF-8, bytes as they are.
            timeout_s: seconds to wait; None: as long as it takes.

        Returns:
            The reply, whatever its status: an entry's own failure is a reply.

        Raises:
            RefusedError: the plugin did not take the call: an unknown entry, a full queue.
            CallTimeoutError: no reply in time.
            HostClosedError: the plugin is unloaded.
            HostError: a request for a plugin that was loaded by v2.
        """
        instance = self._instance
        request, keep = self._request(method, path, query, headers)
        view = body_view(body)
        call = UnaryCall()
        name = instance.name(entry)
        sid = instance.start(call, instance.functions.handle, name, request, view, entry=entry)
        del keep  # until here the plugin's view of the request had to live
        return call.reply or wait_for_reply(instance, call, sid, timeout_s, entry)

    def call_raw(self, entry: str, body: Body = b"", *, timeout_s: float | None = None) -> Reply:
        """`call` without a request: by `handle_raw` in v1-raw, by `handle` otherwise. Raises as `call`."""
        instance = self._instance
        view = body_view(body)
        call = UnaryCall()
        sid = instance.start(call, instance.functions.handle_raw, instance.name(entry), view, entry=entry)
        return call.reply or wait_for_reply(instance, call, sid, timeout_s, entry)

    def call_id(self, entry_id: int, body: Body = b"", *, timeout_s: float | None = None) -> Reply:
        """`call_raw` by the number that `entry_id` gave (v2). Raises as `call`."""
        instance = self._instance
        function = self._handle_by_id()
        view = body_view(body)
        call = UnaryCall()
        name = f"number {entry_id}"
        sid = instance.start(call, function, entry_id, view, entry=name)
        return call.reply or wait_for_reply(instance, call, sid, timeout_s, name)

    def call_fast(self, entry: str, body: Body = b"") -> Reply:
        """`call_raw` for an entry that answers inside `handle`, on the caller's thread: never waits.

        Raises:
            NoReplyError: `handle` returned, and the entry had not answered on this thread. The call is given up.
            RefusedError, HostClosedError: as `call`.
        """
        instance = self._instance
        view = body_view(body)
        call = FastCall()
        sid = instance.start(call, instance.functions.handle_raw, instance.name(entry), view, entry=entry)
        if call.reply is None:
            instance.give_up(sid)
            if call.failure is not None:
                raise call.failure
            raise NoReplyError(f"entry {entry!r} of {self.path} did not answer inside handle: use call")
        return call.reply

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
            The stream. Read it to its end or close it.
        """
        instance = self._instance
        request, keep = self._request(method, path, query, headers)
        view = body_view(body)
        call = StreamCall(instance.stream_capacity)
        name = instance.name(entry)
        sid = instance.start(call, instance.functions.handle, name, request, view, entry=entry)
        del keep
        return Stream(instance, call, sid)

    def send_stream_data(self, sid: int, data: Body) -> None:
        """Send a frame to an open stream's input.

        Raises:
            RefusedError: not taken. Invalid: no such stream is open; Unsupported: it takes no input; Err (v1) or
                Backpressure (v2): its inbox is full, send the frame again later.
            HostClosedError: the plugin is unloaded.
        """
        self._instance.send_stream_data(sid, data)

    def close_stream(self, sid: int) -> None:
        """End a stream's input. What it still answers is read as before. Raises as `send_stream_data`."""
        self._instance.close_stream(sid)

    def unload(self, *, timeout_s: float | None = None) -> None:
        """Shut the plugin down and close its file. New calls are refused from the first moment.

        First the threads that are inside the plugin's functions are waited for, then `shutdown` is called: it answers
        or ends what is in progress. A second unload does nothing.

        Args:
            timeout_s: seconds to wait for those threads; after that `shutdown` is called all the same, and the file
                stays mapped for them. None: as long as it takes.

        Raises:
            HostError: called by a thread that is inside one of the plugin's functions.
        """
        self._instance.unload(timeout_s)

    def reload(self, path: str | os.PathLike[str] | None = None) -> None:
        """Load the plugin anew, from the same file or another, then unload the old instance. Sids go on counting.

        Calls that were on their way into the old instance are refused with HostClosedError. The dynamic linker gives
        the image that it has for a file that it knows: give a new version another path.

        Raises:
            LoadError: as `load`; the old instance goes on.
        """
        old = self._instance
        if old.closed:
            raise HostError(f"{old.path} is unloaded: use Host.load")
        capacity = old.stream_capacity or DEFAULT_STREAM_CAPACITY
        abi = old.functions.abi if path is None else None
        self._instance = Instance(old.path if path is None else path, abi, capacity, old.sids)
        old.unload()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unload()
