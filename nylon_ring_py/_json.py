"""JSON: orjson where it is installed, and the standard library otherwise. Loaded with the first use of either."""

from __future__ import annotations

from nylon_ring_py._optional import find_library
from nylon_ring_py._payloads import is_model, is_struct
from nylon_ring_py.errors import HandlerError
from nylon_ring_py.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def decode(body: bytes) -> Any:
    """Decode a JSON body.

    Args:
        body: UTF-8 text.

    Returns:
        The plain Python object.

    Raises:
        HandlerError: `Status.INVALID`, the body is no JSON. NaN and Infinity are none.
    """
    try:
        return _loads(body)
    except (ValueError, RecursionError) as error:
        raise HandlerError(Status.INVALID, f"the body is no JSON: {error}") from error


def encoder() -> Callable[[Any], bytes]:
    """What encodes plain objects, and dataclasses, Structs and pydantic models among them."""
    return _dumps


def msgspec_encoder(msgspec: Any) -> Callable[[Any], bytes]:
    """What encodes all that msgspec knows, and pydantic models among it.

    Args:
        msgspec: the module.
    """

    def convert(value: Any) -> object:
        if is_model(type(value)):
            return msgspec.Raw(value.__pydantic_serializer__.to_json(value))
        return as_builtin(value)

    return msgspec.json.Encoder(enc_hook=convert).encode  # type: ignore[no-any-return]


def as_builtin(value: object) -> object:
    """A str, int or float of an author's own class as what it is; msgspec takes only the plain ones.

    Raises:
        TypeError: it is nothing of the kind.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"an object of type {type(value).__name__} has no form in it")


def _convert(value: Any) -> object:
    """What the library does not know by itself."""
    if is_struct(type(value)):
        import msgspec

        return _fragment(msgspec_encoder(msgspec)(value))
    if is_model(type(value)):
        return _fragment(value.__pydantic_serializer__.to_json(value))
    raise TypeError(f"an object of type {type(value).__name__} has no form in it")


def _with_orjson(orjson: Any) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes], Callable[[bytes], object]]:
    def dumps(value: Any) -> bytes:
        return orjson.dumps(value, _convert)  # type: ignore[no-any-return]

    return orjson.loads, dumps, orjson.Fragment


def _with_standard_library() -> tuple[Callable[[bytes], Any], Callable[[Any], bytes], Callable[[bytes], object]]:
    import dataclasses
    import datetime
    import enum
    import json
    import uuid

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON value")

    def loads(body: bytes) -> Any:
        return json.loads(body.decode(), parse_constant=refuse)

    def convert(value: Any) -> object:  # orjson knows these by itself
        if dataclasses.is_dataclass(value) and not is_model(type(value)):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, (datetime.date, datetime.time)):
            return value.isoformat()
        if isinstance(value, uuid.UUID):
            return str(value)
        return value.value if isinstance(value, enum.Enum) else _convert(value)

    def dumps(value: Any) -> bytes:
        text = json.dumps(value, default=convert, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()

    return loads, dumps, loads


_orjson = find_library("orjson")
_loads, _dumps, _fragment = _with_standard_library() if _orjson is None else _with_orjson(_orjson)
