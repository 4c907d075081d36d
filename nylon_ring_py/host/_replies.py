"""What plugins call: the host's functions, one set for the whole process.

They are made once and never freed, and `host_ctx` is a number that is never used again: a plugin that sends after its
shutdown meets a number that nobody has, instead of freed memory.
"""

from __future__ import annotations

import itertools
import sys
from types import TracebackType
from typing import Protocol

from nylon_ring_py.host._abi import NULL, CData, ffi
from nylon_ring_py.host._calls import GONE


class Receiver(Protocol):
    """An instance, as the plugin's sends see it. Every method may come on any thread."""

    def deliver(self, sid: int, status: int, ptr: CData, length: int) -> int:
        """Copy and keep a reply; the status that v2 answers."""

    def lease(self, sid: int, capacity: int) -> tuple[CData, int, int]:
        """Memory for a reply: pointer, bytes, token. A null pointer refuses."""

    def commit(self, sid: int, status: int, token: int, length: int) -> int:
        """Take a reply that was written into a lease."""

    def callback_failed(self, sid: int, error: BaseException) -> None:
        """One of the above has raised."""


_receivers: dict[int, Receiver] = {}
# Not an address: far below what the system maps, so that it is no other host's either.
_numbers = itertools.count(16, 16)


def enrol(receiver: Receiver) -> int:
    """Returns the host_ctx for a new instance."""
    number = next(_numbers)
    _receivers[number] = receiver
    return number


def dismiss(host_ctx: int) -> None:
    """The instance is shut down: what still comes for it is ignored."""
    _receivers.pop(host_ctx, None)


def enrolled() -> list[Receiver]:
    """All instances that are not shut down."""
    return list(_receivers.values())


def _on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # The arguments of the function that raised are the locals of its frame; without a frame cffi could not convert one.
    names = trace.tb_frame.f_locals if trace is not None else {}
    receiver = _receivers.get(names.get("host_ctx", 0))
    if receiver is None:
        sys.excepthook(kind, error, trace)
    else:
        receiver.callback_failed(names.get("sid", 0), error)


@ffi.callback("void(uintptr_t, uint64_t, NrStatus, NrBytes)", onerror=_on_error)  # type: ignore[untyped-decorator]
def _send_result_v1(host_ctx: int, sid: int, status: int, payload: CData) -> None:
    receiver = _receivers.get(host_ctx)
    if receiver is not None:
        receiver.deliver(sid, status, payload.ptr, payload.len)


@ffi.callback("NrStatus(uintptr_t, uint64_t, NrStatus, NrVecU8)", error=GONE, onerror=_on_error)  # type: ignore[untyped-decorator]
def _send_result(host_ctx: int, sid: int, status: int, payload: CData) -> int:
    try:
        receiver = _receivers.get(host_ctx)
        return GONE if receiver is None else receiver.deliver(sid, status, payload.ptr, payload.len)
    finally:
        if payload.owned and payload.drop_fn:
            payload.drop_fn(payload.ptr, payload.len, payload.cap)


@ffi.callback("NrStatus(uintptr_t, uint64_t, NrStatus, NrOwnedBytes)", error=GONE, onerror=_on_error)  # type: ignore[untyped-decorator]
def _send_result_owned(host_ctx: int, sid: int, status: int, payload: CData) -> int:
    try:
        receiver = _receivers.get(host_ctx)
        return GONE if receiver is None else receiver.deliver(sid, status, payload.ptr, payload.len)
    finally:
        if payload.release:
            payload.release(payload.owner_ctx, payload.ptr, payload.len)


@ffi.callback("NrBufferLease(uintptr_t, uint64_t, uint64_t)", onerror=_on_error)  # type: ignore[untyped-decorator]
def _acquire_result_buffer(host_ctx: int, sid: int, capacity: int) -> tuple[CData, int, int]:
    receiver = _receivers.get(host_ctx)
    return (NULL, 0, 0) if receiver is None else receiver.lease(sid, capacity)


@ffi.callback("NrStatus(uintptr_t, uint64_t, NrStatus, uint64_t, uint64_t)", error=GONE, onerror=_on_error)  # type: ignore[untyped-decorator]
def _commit_result_buffer(host_ctx: int, sid: int, status: int, token: int, length: int) -> int:
    receiver = _receivers.get(host_ctx)
    return GONE if receiver is None else receiver.commit(sid, status, token, length)


VTABLE_V1: CData = ffi.new("NrHostVTable *", (_send_result_v1,))
VTABLE_V2: CData = ffi.new(
    "NrHostVTableV2 *", (_send_result, _send_result_owned, _acquire_result_buffer, _commit_result_buffer)
)
