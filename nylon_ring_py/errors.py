"""The exceptions of the SDK, and the one table from an exception to what the host is told."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nylon_ring_py.status import Status

_ERR = 1  # Status.ERR: whoever fails first is not made to wait for the module enum

MAX_MESSAGE_BYTES = 64 * 1024
"""Longest error text sent to a host: enough for any message, and no handler's repr of its data floods a log."""


class _StatusErr:
    """`Status.ERR` for who reads it: no plugin waits for the module enum because it might fail."""

    def __get__(self, instance: object, owner: object) -> Status:
        from nylon_ring_py.status import Status

        return Status.ERR


class NylonRingError(Exception):
    """Base of every exception this package defines. `status` is what a host is told when a handler lets it escape."""

    if TYPE_CHECKING:
        status: Status = Status.ERR
    else:
        status = _StatusErr()


class HandlerError(NylonRingError):
    """Raise it in a handler to answer the call with a status and a message of your own.

    Args:
        status: `Status.ERR`, `Status.INVALID` or `Status.UNSUPPORTED`.
        message: sent to the host as it is, in UTF-8, without a type name.

    Raises:
        TypeError: status is no integer or message no str.
        ValueError: the status does not mean a failure, or cannot be sent.
    """

    message: str = ""

    def __init__(self, status: int, message: str) -> None:
        from nylon_ring_py.status import Status, sendable_status

        known = sendable_status(status)
        if known in (Status.OK, Status.STREAM_END):
            raise ValueError(f"HandlerError cannot carry Status.{known.name}, which means success: return instead")
        if not isinstance(message, str):
            raise TypeError(f"the message of a HandlerError is a str, not {type(message).__name__}")
        super().__init__(known, message)
        self.status = known
        self.message = message

    def __str__(self) -> str:
        return self.message


class RegistrationError(NylonRingError):
    """A handler or hook cannot be registered. Raised at import; the message has the function's file and line."""


class NotBoundError(NylonRingError, RuntimeError):
    """The plugin is not loaded by a host, so there is nobody to send to."""


class CallEndedError(NylonRingError, RuntimeError):
    """The call or stream has had its terminal reply: no frame can be sent for it any more, and no state be set."""


class StreamFullError(NylonRingError, RuntimeError):
    """A thread of the host's, or an event loop's, sent to a stream whose receiver has stopped reading, by a way that
    would have to wait there; other threads wait for room, and so does ``await stream.send(…)``.
    """


class ConfigError(NylonRingError, ValueError):
    """A value of the plugin's configuration is wrong, missing, or has a name that is not known."""


class PluginLookupError(NylonRingError, LookupError):
    """The module of a built plugin does not hold the Plugin object it was built for."""


class MissingDependencyError(NylonRingError, ImportError):
    """An optional library that was asked for is not installed."""


def describe_exception(exc: BaseException) -> tuple[int, bytes]:
    """Say what a host is told about an exception. Never raises, whatever the exception does.

    | exception | status | text |
    | --- | --- | --- |
    | `HandlerError` | its status | its message |
    | another `NylonRingError` | the `status` of its class | ``TypeName: message`` |
    | anything else, `SystemExit` and `KeyboardInterrupt` too | `Status.ERR` | ``TypeName: message`` |

    An empty message leaves ``TypeName`` alone.

    Args:
        exc: what escaped from a handler.

    Returns:
        The status number, and UTF-8 text of at most `MAX_MESSAGE_BYTES` bytes; lone surrogates are written as
        backslash escapes.
    """
    try:
        return _status_of(exc), _bounded(_text_of(exc))
    except BaseException:
        # A hostile exception: its type may lie about its name, its str may be a subclass that raises.
        return _ERR, b"an exception that cannot be described"


def _status_of(exc: BaseException) -> int:
    if not isinstance(exc, NylonRingError):
        return _ERR
    try:
        from nylon_ring_py.status import Status, sendable_status

        status = sendable_status(exc.status)
    except Exception:  # a subclass may have put anything there, and an import needs memory and a descriptor
        return _ERR
    return _ERR if status in (Status.OK, Status.STREAM_END) else int(status)


def _text_of(exc: BaseException) -> str:
    try:
        message = exc.message if isinstance(exc, HandlerError) else str(exc)
        message = str.__str__(message)
    except BaseException as broken:
        return f"{type(exc).__name__}: (its message cannot be read: {type(broken).__name__})"
    if isinstance(exc, HandlerError):
        return message
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__


def _bounded(text: str) -> bytes:
    # A character takes at least one byte, so the cut keeps a huge message from being encoded whole.
    data = text[: MAX_MESSAGE_BYTES + 1].encode("utf-8", "backslashreplace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return data
    note = f" (cut, {len(text)} characters in all)".encode()
    kept = data[: MAX_MESSAGE_BYTES - len(note)].decode("utf-8", "ignore").encode()
    return kept + note
