"""Bodies decoded into types and checked: by msgspec, and by pydantic where one of its models is among them.

The text for a wrong body says which field it is and what was expected there.
"""

from __future__ import annotations

from nylon_ring_py._optional import find_library
from nylon_ring_py._payloads import libraries_of
from nylon_ring_py.errors import HandlerError, MissingDependencyError
from nylon_ring_py.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_FAULTS = 5
"""Faults of one body that are named; the rest are counted. msgspec stops at the first."""


def typed_decoder(codec: str, type_: object, name: str) -> Callable[[bytes], Any]:
    """What decodes a body into a type.

    Args:
        codec: of the body.
        type_: a class or another annotation.
        name: of the type, for messages.

    Returns:
        A function of the body; it raises HandlerError with `Status.INVALID`.

    Raises:
        MissingDependencyError: the library is not installed.
        Exception: the library does not take the type; it says why.
    """
    libraries = libraries_of(type_)
    if "pydantic 1" in libraries:
        raise TypeError("it is a model of pydantic 1, and one of version 2 or later is needed")
    if "pydantic" in libraries:
        return _pydantic_decoder(codec, type_, name)
    return _msgspec_decoder(codec, type_, name)


def find_msgspec(what: str) -> Any:
    """The module.

    Args:
        what: needs it, for the message.

    Raises:
        MissingDependencyError: it is not installed.
    """
    msgspec = find_library("msgspec")
    if msgspec is None:
        raise MissingDependencyError(
            f"{what} needs the library msgspec, which is not installed in this plugin's environment: "
            "python -m pip install msgspec",
            name="msgspec",
        )
    return msgspec


def _msgspec_decoder(codec: str, type_: object, name: str) -> Callable[[bytes], Any]:
    msgspec = find_msgspec(f"a body of type {name}")
    module, title = (msgspec.json, "JSON") if codec == "json" else (msgspec.msgpack, "MessagePack")
    take, wrong = module.Decoder(type_).decode, msgspec.ValidationError

    def decode(body: bytes) -> Any:
        try:
            return take(body)
        except wrong as error:
            raise HandlerError(Status.INVALID, f"the body is no {name}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise HandlerError(Status.INVALID, f"the body is no {title}: {error}") from error

    return decode


def _pydantic_decoder(codec: str, type_: object, name: str) -> Callable[[bytes], Any]:
    import pydantic  # whoever has a model has it

    made: Any = pydantic.TypeAdapter(type_)  # type: ignore[arg-type]  # pydantic says what it does not take
    if codec == "json":
        return _checked(made.validate_json, pydantic.ValidationError, name)

    from nylon_ring_py._msgpack import decoder

    check, unpack = _checked(made.validate_python, pydantic.ValidationError, name), decoder()
    return lambda body: check(unpack(body))


def _checked(validate: Callable[[Any], Any], wrong: Any, name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        try:
            return validate(value)
        except wrong as error:
            raise HandlerError(Status.INVALID, _faults(error, name)) from error

    return check


def _faults(error: Any, name: str) -> str:
    """A pydantic ValidationError in a line, as msgspec would write it."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return f"the body is no JSON: {faults[0]['msg'].removeprefix('Invalid JSON: ')}"
    lines = [fault["msg"] + _place(fault["loc"]) for fault in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        lines.append(f"and {len(faults) - MAX_FAULTS} more")
    return f"the body is no {name}: {'; '.join(lines)}"


def _place(steps: tuple[str | int, ...]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return f" - at `${path}`" if path else ""
