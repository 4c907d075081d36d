"""A codec as entries use it, for what does not go through a handler's parameter or result: frames of a duplex stream,
answers through a callback or ``plugin.send_result``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from nylon_ring_py._payloads import libraries_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Codec(Generic[T]):
    """Bytes to objects and back.

    Args:
        name: ``"json"`` or ``"msgpack"``.
        type: what bodies are decoded into and checked against: a msgspec Struct, a dataclass, a TypedDict, a pydantic
            model, anything made of them, and all else that msgspec takes. Left out: plain objects, unchecked.

    Attributes:
        decode: takes a body as bytes; gives an object of the type. Raises HandlerError with `Status.INVALID` and the
            field that is wrong, so a handler that lets it pass answers with that.
        encode: takes an object, also of other types than `type`; gives bytes. Raises TypeError where it has no form in
            the codec.

    Raises:
        MissingDependencyError: a library it needs is not installed; the message says which.
        ValueError: there is no codec of that name.
    """

    __slots__ = ("decode", "encode", "name")

    name: Literal["json", "msgpack"]
    decode: Callable[[bytes], T]
    encode: Callable[[object], bytes]

    @overload
    def __init__(self: Codec[Any], name: Literal["json", "msgpack"]) -> None: ...
    @overload
    def __init__(self, name: Literal["json", "msgpack"], type: type[T]) -> None: ...
    def __init__(self, name: Literal["json", "msgpack"], type: Any = None) -> None:
        check_codec(name)
        self.name = name
        self.decode = decoder_of(name, type)
        self.encode = encoder_of(name, libraries_of(type))

    def __repr__(self) -> str:
        return f"Codec({self.name!r})"


def check_codec(name: object) -> None:
    """Check the name of a codec.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in ("json", "msgpack"):
        raise ValueError(f'codec= is "json" or "msgpack", not {name!r}')


def decoder_of(codec: str, type_: object = None) -> Callable[[bytes], Any]:
    """What decodes bodies: into a type, or plain objects where it is None."""
    if type_ is not None:
        from nylon_ring_py._typed import typed_decoder

        return typed_decoder(codec, type_, name_of(type_))
    if codec == "json":
        from nylon_ring_py._json import decode

        return decode
    from nylon_ring_py._msgpack import decoder

    return decoder()


def encoder_of(codec: str, libraries: set[str]) -> Callable[[Any], bytes]:
    """What encodes results.

    Args:
        codec: into what.
        libraries: whose types are in the handler's annotations. With "msgspec" among them all goes through msgspec:
            what it decodes into a Struct, dataclass or TypedDict it encodes the same way.

    Returns:
        A function of the result. It raises TypeError.
    """
    from nylon_ring_py import _json as module

    title = "JSON"
    if codec == "msgpack":
        from nylon_ring_py import _msgpack as module  # type: ignore[no-redef]

        title = "MessagePack"
    if "msgspec" in libraries:
        from nylon_ring_py._typed import find_msgspec

        write = module.msgspec_encoder(find_msgspec("a result of such a type"))
    else:
        write = module.encoder()

    def encode(value: object) -> bytes:
        try:
            return write(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = error if error.__cause__ is None else error.__cause__
            raise TypeError(f"this {type(value).__name__} cannot be encoded as {title}: {reason}") from error

    return encode
