"""nylon-ring plugins in Python: everything an author imports."""

from nylon_ring_py._core import Body, Call, Callback, Request, Stream, current_call
from nylon_ring_py.errors import CallEndedError, HandlerError, NylonRingError, RegistrationError, StreamFullError
from nylon_ring_py.plugin import Plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nylon_ring_py.define import define_plugin
    from nylon_ring_py.response import Response
    from nylon_ring_py.status import Status

__all__ = [
    "Body",
    "Call",
    "CallEndedError",
    "Callback",
    "HandlerError",
    "NylonRingError",
    "Plugin",
    "RegistrationError",
    "Request",
    "Response",
    "Status",
    "Stream",
    "StreamFullError",
    "current_call",
    "define_plugin",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # to a checker every name would be there

    def __getattr__(name: str) -> object:
        # Most plugins need only some of these, and a host waits for what is imported: Status brings the module enum.
        if name == "Response":
            from nylon_ring_py.response import Response as found
        elif name == "Status":
            from nylon_ring_py.status import Status as found
        elif name == "define_plugin":
            from nylon_ring_py.define import define_plugin as found
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found
