"""From the function an author wrote to the one the core calls: by position, with its payload decoded and its result
encoded where the decorator or the annotations ask for it.
"""

from __future__ import annotations

from nylon_ring_py._payloads import find_payload, is_plain
from nylon_ring_py._signature import positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from nylon_ring_py._signature import Shape, Subject
    from nylon_ring_py.entry import Options


def bind(
    function: Callable[..., Any], shape: Shape, options: Options, subject: Subject
) -> tuple[Callable[..., Any], bool]:
    """Bring a handler into the form that is called by position.

    Args:
        function: the handler.
        shape: what it looks like.
        options: the decorator's.
        subject: for messages.

    Returns:
        The callable, of the same kind as the handler (a coroutine function for a coroutine function, and so on), and
        whether it takes a callback as its second argument.

    Raises:
        RegistrationError: it has no parameter for its argument, or one that nothing would fill; or a library that its
            codec or its payload needs is not installed.
    """
    argument = "stream" if options.duplex else "payload" if options.raw else "request"
    if options.duplex:
        return positional(function, shape, argument, subject)
    asks = options.codec is not None or not all(is_plain(parameter.annotation) for parameter in shape.parameters)
    payload = find_payload(shape, options, subject) if asks else None
    if payload is not None and options.borrow:
        subject.refuse(f"borrow=True does not fit {payload.parameter.name}, which is made of the body")
    if payload is None and options.codec is None:
        return positional(function, shape, argument, subject)

    from nylon_ring_py._coding import bind_coded

    return bind_coded(function, shape, options, payload, subject)
