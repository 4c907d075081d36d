"""MessagePack, by the library msgpack. Loaded with the first use of it."""

from __future__ import annotations

from nylon_ring_py._json import as_builtin
from nylon_ring_py._optional import find_library
from nylon_ring_py._payloads import is_dataclass, is_model, is_struct
from nylon_ring_py.errors import HandlerError, MissingDependencyError
from nylon_ring_py.status import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def decode(body: bytes) -> Any:
    """Decode a MessagePack body.

    Args:
        body: exactly one MessagePack object.

    Returns:
        The plain Python object.

    Raises:
        HandlerError: `Status.INVALID`, the body is no MessagePack.
        MissingDependencyError: msgpack is not installed in the plugin's environment.
    """
    return _decoder("request.msgpack()")(body)


def decoder() -> Callable[[bytes], Any]:
    """`decode`, with the library found once.

    Raises:
        MissingDependencyError: msgpack is not installed in the plugin's environment.
    """
    return _decoder('codec="msgpack"')


def encoder() -> Callable[[Any], bytes]:
    """What encodes plain objects, and dataclasses, Structs and pydantic models among them.

    Raises:
        MissingDependencyError: msgpack is not installed in the plugin's environment.
    """
    packb = _library('codec="msgpack"').packb

    def encode(value: Any) -> bytes:
        return packb(value, default=_convert)  # type: ignore[no-any-return]

    return encode


def msgspec_encoder(msgspec: Any) -> Callable[[Any], bytes]:
    """What encodes all that msgspec knows, and pydantic models among it.

    Args:
        msgspec: the module.
    """

    def convert(value: Any) -> object:
        return _model_values(value) if is_model(type(value)) else as_builtin(value)

    return msgspec.msgpack.Encoder(enc_hook=convert).encode  # type: ignore[no-any-return]


def _decoder(user: str) -> Callable[[bytes], Any]:
    msgpack = _library(user)
    unpackb, wrong = msgpack.unpackb, (ValueError, RecursionError, msgpack.UnpackException)

    def decode(body: bytes) -> Any:
        try:
            return unpackb(body)
        except wrong as error:
            raise HandlerError(Status.INVALID, f"the body is no MessagePack: {error}") from error

    return decode


def _library(user: str) -> Any:
    msgpack = find_library("msgpack")
    if msgpack is None:
        raise MissingDependencyError(
            f"{user} needs the library msgpack, which is not installed in this plugin's environment: "
            "python -m pip install msgpack",
            name="msgpack",
        )
    return msgpack


def _convert(value: Any) -> object:
    """What the library does not know by itself."""
    if is_struct(type(value)):
        import msgspec

        return msgspec.to_builtins(value, builtin_types=(bytes, bytearray), enc_hook=_convert)
    if is_model(type(value)):
        return _model_values(value)
    if is_dataclass(type(value)):
        import dataclasses

        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"an object of type {type(value).__name__} has no form in it")


def _model_values(model: Any) -> object:
    """A pydantic model's values: as in JSON, but bytes stay bytes."""
    from pydantic_core import to_jsonable_python

    def plain(value: Any) -> object:
        if isinstance(value, dict):
            return {plain(key): plain(each) for key, each in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [plain(each) for each in value]
        return value if isinstance(value, (bytes, bytearray)) else to_jsonable_python(value)

    return plain(model.__pydantic_serializer__.to_python(model))
