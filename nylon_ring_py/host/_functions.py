"""From a file to a plugin's functions: found, checked, and given one shape whatever the ABI is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import read_payload
from nylon_ring_py.host import _replies
from nylon_ring_py.host._abi import NULL, CData, close_library, ffi, find_getter, open_library, text_of
from nylon_ring_py.host.errors import AbiVersionError, LibraryError, NotAPluginError, PluginNotFoundError
from nylon_ring_py.status import Status

Abi: TypeAlias = Literal["v1", "v1-raw", "v2"]

_GETTERS: dict[Abi, str] = {
    "v1": "nylon_ring_get_plugin_v1",
    "v1-raw": "nylon_ring_get_plugin_v1",
    "v2": "nylon_ring_get_plugin",
}
_LAYOUTS: dict[str, Abi] = {"seed": "v1", "raw": "v1-raw"}
_TABLES: dict[Abi, str] = {"v1": "NrPluginVTable *", "v1-raw": "NrPluginVTableRaw *", "v2": "NrPluginVTableV2 *"}


@dataclass(frozen=True)
class Functions:
    """A plugin's functions, `plugin_ctx` filled in. Each returns the status number that the plugin answered.

    Attributes:
        init: takes host_ctx, which is a number.
        handle: takes entry (NrStr), sid, request (NrRequest * or NULL; v2 has none), body (initialiser of NrBytes).
        handle_raw: the same without the request.
        resolve_entry, handle_by_id: entries by number; None where the plugin has none.
        shutdown_after_failed_init: whether this ABI's hosts do that.
    """

    abi: Abi
    name: str
    version: str
    library: CData
    init: Callable[[int], int]
    handle: Callable[[CData, int, CData, object], int]
    handle_raw: Callable[[CData, int, object], int]
    shutdown: Callable[[], None]
    stream_data: Callable[[int, object], int]
    stream_close: Callable[[int], int]
    resolve_entry: Callable[[CData], int] | None
    handle_by_id: Callable[[int, int, object], int] | None
    shutdown_after_failed_init: bool

    def close_library(self) -> None:
        """dlclose. No function may be called, or be running, any more."""
        close_library(self.library)


def open_plugin(path: str | os.PathLike[str], abi: Abi | None) -> Functions:
    """Open a plugin file and ask it for an instance.

    Args:
        path: the file; a relative path is seen from the current folder, never searched for.
        abi: which ABI, and which layout of v1; None: see `choose`.

    Raises:
        ValueError: an unknown abi.
        LoadError: one of its subclasses says why.
    """
    shown = os.fspath(path)
    if abi is not None and abi not in get_args(Abi):
        raise ValueError(f"unknown ABI {abi!r}: it is one of {', '.join(get_args(Abi))}, or None to choose")
    if not Path(shown).exists():
        raise PluginNotFoundError(shown, "there is no such file")
    try:
        library = open_library(str(Path(shown).absolute()))
    except OSError as error:
        raise LibraryError(shown, f"it cannot be opened as a shared library: {error}") from error
    try:
        return _functions_of(library, shown, abi or choose(library, shown))
    except BaseException:
        close_library(library)
        raise


def choose(library: CData, path: str) -> Abi:
    """The ABI for a file whose user names none.

    The layouts of v1 cannot be told apart at run time, and the wrong one ends in a crash. So: a file that build-plugin
    made is asked which layout it was built for, and v1 is taken, which carries method, path, query and headers; any
    other plugin is spoken to in v2 where it offers that, which has one layout, and in v1 of five functions otherwise.
    """
    if _exports(library, "v1"):
        try:
            recorded = read_payload(path).manifest.get("abi")
        except (BuildError, OSError):
            recorded = None  # another tool's plugin
        if recorded in ("v1", "v1-raw"):
            # The plugin reads that variable, too: what it says stands over the record.
            layout = _LAYOUTS.get(os.environ.get("NYLON_RING_V1_LAYOUT", ""))
            return layout or ("v1-raw" if recorded == "v1-raw" else "v1")
    return "v2" if _exports(library, "v2") else "v1"


def _exports(library: CData, abi: Abi) -> bool:
    return find_getter(library, _GETTERS[abi]) is not None


def _functions_of(library: CData, path: str, abi: Abi) -> Functions:
    name = _GETTERS[abi]
    getter = find_getter(library, name)
    if getter is None:
        other: Abi = "v1" if abi == "v2" else "v2"
        hint = f"; it exports {_GETTERS[other]}, so load it with abi={other!r}" if _exports(library, other) else ""
        raise NotAPluginError(path, f"it does not export {name}, as a plugin of ABI {abi} does{hint}")
    info = getter()
    if info == NULL:
        raise NotAPluginError(path, f"{name} returned null")
    wanted = 2 if abi == "v2" else 1
    if info.abi_version != wanted:
        raise AbiVersionError(path, f"it says that it speaks ABI version {info.abi_version}, not {wanted}")
    if info.vtable == NULL:
        raise NotAPluginError(path, "its table of functions is null")
    table = ffi.cast(_TABLES[abi], info.vtable)
    for function in ("init", "handle", "shutdown"):
        if getattr(table, function) == NULL:
            raise NotAPluginError(path, f"its {function} function is null")
    return _v2(library, info, table) if abi == "v2" else _v1(library, info, table, abi)


def _unsupported(*_: object) -> int:
    return int(Status.UNSUPPORTED)


def _v1(library: CData, info: CData, table: CData, abi: Abi) -> Functions:
    ctx = info.plugin_ctx
    init, handle, shutdown = table.init, table.handle, table.shutdown
    data, close = table.stream_data or _unsupported, table.stream_close or _unsupported
    raw = table.handle_raw if abi == "v1-raw" else NULL

    def by_handle(entry: CData, sid: int, body: object) -> int:
        return int(handle(ctx, entry, sid, NULL, body))

    def by_handle_raw(entry: CData, sid: int, body: object) -> int:
        return int(raw(ctx, entry, sid, body))

    return Functions(
        abi=abi,
        name=text_of(info.name),
        version=text_of(info.version),
        library=library,
        init=lambda host_ctx: int(init(ctx, host_ctx, _replies.VTABLE_V1)),
        handle=lambda entry, sid, request, body: int(handle(ctx, entry, sid, request, body)),
        handle_raw=by_handle_raw if raw else by_handle,
        shutdown=lambda: shutdown(ctx),
        stream_data=lambda sid, body: int(data(ctx, sid, body)),
        stream_close=lambda sid: int(close(ctx, sid)),
        resolve_entry=None,
        handle_by_id=None,
        shutdown_after_failed_init=True,
    )


def _v2(library: CData, info: CData, table: CData) -> Functions:
    init, handle = table.init, table.handle
    by_id = bool(table.resolve_entry) and bool(table.handle_by_id)
    return Functions(
        abi="v2",
        name=text_of(info.name),
        version=text_of(info.version),
        library=library,
        init=lambda host_ctx: int(init(host_ctx, _replies.VTABLE_V2)),
        handle=lambda entry, sid, request, body: int(handle(entry, sid, body)),
        handle_raw=handle,
        shutdown=table.shutdown,
        stream_data=table.stream_data or _unsupported,
        stream_close=table.stream_close or _unsupported,
        resolve_entry=table.resolve_entry if by_id else None,
        handle_by_id=table.handle_by_id if by_id else None,
        shutdown_after_failed_init=False,
    )
