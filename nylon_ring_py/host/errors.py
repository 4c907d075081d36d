"""What can go wrong in a host. Every class derives from `HostError`, and so from `NylonRingError`."""

from __future__ import annotations

from nylon_ring_py.errors import NylonRingError
from nylon_ring_py.status import Status


def status_name(status: int) -> str:
    """A status as a person reads it: its name where it has one, else its number."""
    try:
        return f"Status.{Status(status).name}"
    except ValueError:
        return f"status {status}"


class HostError(NylonRingError):
    """Base of all that a host raises."""


class LoadError(HostError):
    """A file could not be loaded as a plugin.

    Attributes:
        path: the file, as it was given.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class PluginNotFoundError(LoadError, FileNotFoundError):
    """There is no file at that path."""


class LibraryError(LoadError):
    """The dynamic linker refuses the file: no shared library, another machine's, or one that needs what is missing."""


class NotAPluginError(LoadError):
    """The library does not export the function of the ABI that was asked for, or the function hands out nothing."""


class AbiVersionError(LoadError):
    """The plugin says that it speaks another version of the ABI than the function that handed it out."""


class InitRefusedError(LoadError):
    """The plugin's `init` did not answer Ok. Why stands on stderr, where plugins write it.

    Attributes:
        status: what it answered. (`NylonRingError.status` of the other classes is what a host of ours would be told.)
    """

    def __init__(self, path: str, status: int) -> None:
        super().__init__(
            path, f"init answered {status_name(status)}: the plugin did not start, and says on stderr what is wrong"
        )
        self.status = _known(status)


class RefusedError(HostError):
    """The plugin took neither the call nor the frame; no reply follows.

    Attributes:
        status: what the plugin's function answered.
    """

    def __init__(self, what: str, status: int) -> None:
        super().__init__(f"{what} was refused with {status_name(status)}")
        self.status = _known(status)


class NoReplyError(HostError):
    """A fast call's entry did not answer inside `handle`, on the caller's thread: call it with `call` or `call_raw`."""


class CallTimeoutError(HostError, TimeoutError):
    """No reply in time. The call is given up; a reply that still comes is ignored."""


class CallFailedError(HostError):
    """The host itself could not take a reply; the cause is chained. The call is over."""


class HostClosedError(HostError):
    """The plugin was unloaded, or is being unloaded, or the process is a fork of the one that loaded it."""


def _known(status: int) -> Status:
    try:
        return Status(status)
    except ValueError:
        return Status.ERR
