"""One loaded instance of a plugin: the way in and out of its functions, its calls by sid, its end.

Nothing here takes a lock around a call into the plugin. Counting who is inside relies on operations of list and dict
that are one step each.
"""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import threading
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterator

from nylon_ring_py.host import _replies
from nylon_ring_py.host._abi import ENTRY_UNKNOWN, NULL, CData, body_view, copied, entry_name, ffi
from nylon_ring_py.host._calls import GONE, OK, Call, Deadline, StreamCall
from nylon_ring_py.host._functions import Abi, open_plugin
from nylon_ring_py.host._types import Body
from nylon_ring_py.host.errors import CallFailedError, HostClosedError, HostError, InitRefusedError, RefusedError

AT_EXIT_S = 5.0
"""How long the end of the interpreter waits for threads that are inside a plugin's functions."""

_NAMES_KEPT = 4096

# A lease is written by the plugin before anything is read from it.
_new_lease = ffi.new_allocator(should_clear_after_alloc=False)


class Instance:
    """Loads on construction; see `Host.load` for arguments and errors.

    Args:
        sids: where sids come from: those of the instance that this one replaces.
    """

    def __init__(
        self, path: str | os.PathLike[str], abi: Abi | None, stream_capacity: int, sids: Iterator[int] | None = None
    ) -> None:
        if stream_capacity < 1:
            raise ValueError(f"stream_capacity is at least 1, not {stream_capacity}")
        self.path = os.fspath(path)
        self.functions = open_plugin(path, abi)
        self.stream_capacity = stream_capacity if self.functions.abi == "v2" else 0  # v1 cannot say Backpressure
        self.sids = sids or itertools.count(1)
        self.closed = False
        self._calls: dict[int, Call] = {}
        self._names: dict[str, tuple[CData, CData]] = {}
        self._leases: dict[int, tuple[int, CData]] = {}  # token: sid and memory
        self._tokens = itertools.count(1)
        self._inside: list[int] = []  # the thread of each call into the plugin that has not returned
        self._closing = False
        self._left = threading.Event()  # while closing: somebody has left
        self._unloading = threading.Lock()  # only ever tried
        self._to_close: deque[int] = deque()  # streams without a reader, to be closed at the plugin
        self._interrupt: BaseException | None = None
        self._pid = os.getpid()
        self._host_ctx = _replies.enrol(self)
        self._start()

    def _start(self) -> None:
        try:
            status = self.functions.init(self._host_ctx)
            if status != OK and self.functions.shutdown_after_failed_init:
                self.functions.shutdown()
        except BaseException:
            # An interrupt behind init: the plugin may run, so its file stays open.
            self.functions.shutdown()
            _replies.dismiss(self._host_ctx)
            raise
        if status != OK:
            _replies.dismiss(self._host_ctx)
            self.functions.close_library()
            raise InitRefusedError(self.path, status)
        atexit.register(self._unload_at_exit)

    # ---- into the plugin ----

    def enter(self, function: Callable[..., int], *arguments: object) -> int:
        """Call a function of the plugin, and return the status it answered.

        Raises:
            HostClosedError: the instance is being unloaded; the function was not called.
            KeyboardInterrupt: it fell into one of the host's own functions meanwhile.
        """
        thread = get_ident()
        try:
            self._inside.append(thread)
            if self._closing:
                raise HostClosedError(f"{self.path} is unloaded: load it again")
            return function(*arguments)
        finally:
            self._inside.remove(thread)
            if self._closing:
                self._left.set()
            if self._interrupt is not None:
                self._raise_interrupt()

    def start(self, call: Call, function: Callable[..., int], target: CData, *arguments: object, entry: str) -> int:
        """Make a call: `function(target, sid, *arguments)` with a new sid, which is returned.

        Raises:
            RefusedError: the plugin did not take it.
        """
        if self._to_close:
            self.close_dropped()
        sid = next(self.sids)
        self._calls[sid] = call
        try:
            status = self.enter(function, target, sid, *arguments)
        except BaseException:
            self._calls.pop(sid, None)
            raise
        if status != OK:
            self._calls.pop(sid, None)
            raise RefusedError(f"the call of entry {entry!r} of {self.path}", status)
        return sid

    def name(self, entry: str) -> CData:
        """The NrStr of an entry, made once."""
        found = self._names.get(entry)
        if found is None:
            if len(self._names) >= _NAMES_KEPT:
                self._names.clear()  # names that never repeat must not add up; views in use are kept by their users
            found = self._names[entry] = entry_name(entry)
        return found[0]

    def entry_id(self, entry: str) -> int | None:
        """An entry's number; None where the plugin does not know it, or has no numbers."""
        resolve = self.functions.resolve_entry
        if resolve is None:
            return None
        number = self.enter(resolve, self.name(entry))
        return None if number == ENTRY_UNKNOWN else number

    def send_stream_data(self, sid: int, body: Body = b"") -> None:
        """See `Host.send_stream_data`."""
        status = self.enter(self.functions.stream_data, sid, body_view(body))
        if status != OK:
            raise RefusedError(f"a frame for stream {sid} of {self.path}", status)

    def close_stream(self, sid: int) -> None:
        """See `Host.close_stream`."""
        status = self.enter(self.functions.stream_close, sid)
        if status != OK:
            raise RefusedError(f"the close of stream {sid} of {self.path}", status)

    # ---- calls that end early ----

    def give_up(self, sid: int) -> None:
        """Forget a call: its reply will be ignored. A lease it has out stays until it is committed, or shutdown."""
        self._calls.pop(sid, None)

    def drop_stream(self, sid: int) -> bool:
        """Nobody reads a stream any more. True where the plugin is to be told with `close_dropped`.

        In v2 the next frame is answered Invalid, which tells it. In v1 the call stays in the table until the plugin
        has ended it, and frames are thrown away.
        """
        if sid not in self._calls or self.closed:
            return False
        if self.functions.abi == "v2":
            self._calls.pop(sid, None)
            return False
        self._to_close.append(sid)
        return True

    def close_dropped(self) -> None:
        """Tell the plugin of streams without a reader. What it answers matters to nobody."""
        while self._to_close:
            try:
                sid = self._to_close.popleft()
            except IndexError:  # another thread was faster
                return
            if sid in self._calls and not self._closing:
                try:
                    self.enter(self.functions.stream_close, sid)
                except HostClosedError:
                    return

    # ---- what the plugin sends: _replies.Receiver ----

    def deliver(self, sid: int, status: int, ptr: CData, length: int) -> int:
        """See `_replies.Receiver`."""
        call = self._calls.get(sid)
        return GONE if call is None else call.take(self._calls, sid, status, copied(ptr, length))

    def lease(self, sid: int, capacity: int) -> tuple[CData, int, int]:
        """See `_replies.Receiver`. One lease at a time for a call, none for streams."""
        call = self._calls.get(sid)
        if call is None or call.streams or any(owner == sid for owner, _ in self._leases.values()):
            return NULL, 0, 0
        try:
            memory = _new_lease("char[]", capacity)
        except (MemoryError, OverflowError, ValueError):
            return NULL, 0, 0
        token = next(self._tokens)
        self._leases[token] = (sid, memory)
        return memory, capacity, token

    def commit(self, sid: int, status: int, token: int, length: int) -> int:
        """See `_replies.Receiver`. A wrong token or length leaves the lease as it is."""
        owner, memory = self._leases.get(token, (0, NULL))
        if owner != sid or memory == NULL or length > len(memory):
            return GONE
        if self._leases.pop(token, None) is None:
            return GONE
        return self.deliver(sid, status, memory, length)

    def callback_failed(self, sid: int, error: BaseException) -> None:
        """See `_replies.Receiver`. The call ends with the error; an interrupt is raised once the plugin returns."""
        call = self._calls.pop(sid, None)
        if call is not None:
            if call.streams and self.functions.abi != "v2":
                unread = self._calls[sid] = StreamCall(0)
                unread.drop()
                self._to_close.append(sid)
            failure = CallFailedError(f"the host could not take a reply for call {sid} of {self.path}")
            failure.__cause__ = error
            call.fail(failure)
        if threading.current_thread() is threading.main_thread() and not isinstance(error, Exception):
            self._interrupt = error
        elif call is None:
            sys.excepthook(type(error), error, error.__traceback__)

    def _raise_interrupt(self) -> None:
        if threading.current_thread() is threading.main_thread():
            error, self._interrupt = self._interrupt, None
            if error is not None:
                raise error

    # ---- the end ----

    def unload(self, timeout_s: float | None = None) -> None:
        """See `Host.unload`."""
        if get_ident() in self._inside:
            raise HostError(f"{self.path} cannot be unloaded by a thread that is inside one of its functions")
        if not self._unloading.acquire(blocking=False):
            return
        try:
            if self.closed:
                return
            self._closing = True
            empty = self._wait_for_leavers(timeout_s)
            self.functions.shutdown()
            self._finish()
            if empty or not self._inside:
                self.functions.close_library()
        finally:
            self._unloading.release()

    def _wait_for_leavers(self, timeout_s: float | None) -> bool:
        deadline = Deadline(timeout_s)
        while self._inside:
            # Cleared before the list is looked at again: who leaves after that sets it again.
            self._left.clear()
            if self._inside and not self._left.wait(deadline.left_s):
                return False
        return True

    def _finish(self) -> None:
        _replies.dismiss(self._host_ctx)
        self.closed = True
        atexit.unregister(self._unload_at_exit)
        while self._calls:
            try:
                _, call = self._calls.popitem()
            except KeyError:
                break
            call.fail(HostClosedError(f"{self.path} was unloaded, and had not answered this call"))
        self._leases.clear()

    def _unload_at_exit(self) -> None:
        if os.getpid() == self._pid:
            self.unload(AT_EXIT_S)

    def forget_after_fork(self) -> None:
        """In a child of fork: the plugin's threads are not there, so none of its functions is called any more."""
        self._closing = self.closed = True
        self._inside.clear()
        _replies.dismiss(self._host_ctx)

    @property
    def closing(self) -> bool:
        """Whether calls are refused: it is being unloaded, or is."""
        return self._closing

    @property
    def in_progress(self) -> int:
        """Calls and streams that have not ended."""
        return len(self._calls)


def _forget_all() -> None:
    for receiver in _replies.enrolled():
        if isinstance(receiver, Instance):
            receiver.forget_after_fork()


os.register_at_fork(after_in_child=_forget_all)
