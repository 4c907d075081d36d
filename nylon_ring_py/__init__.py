"""nylon-ring plugins in Python: everything an author imports."""

from nylon_ring_py._core import Body, Call, Callback, Request, Stream, current_call
from nylon_ring_py.define import define_plugin
from nylon_ring_py.errors import CallEndedError, HandlerError, NylonRingError, RegistrationError, StreamFullError
from nylon_ring_py.plugin import Plugin
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
