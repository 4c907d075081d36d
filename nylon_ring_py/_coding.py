"""Handlers with a codec: the body is decoded before they are entered, and what they give is encoded.

A body that cannot be decoded is answered before: the function that the core calls raises, and the handler never runs.
Loaded only where a plugin has such a handler.
"""

from __future__ import annotations

import functools

from nylon_ring_py._payloads import libraries_in, libraries_of
from nylon_ring_py._signature import (
    ASYNC_GENERATOR,
    COROUTINE,
    GENERATOR,
    Parameter,
    Shape,
    is_callback,
    positional,
)
from nylon_ring_py.codecs import check_codec, decoder_of, encoder_of
from nylon_ring_py.errors import MissingDependencyError
from nylon_ring_py.response import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
    from typing import Any

    from nylon_ring_py._payloads import Payload
    from nylon_ring_py._signature import Subject
    from nylon_ring_py.entry import Options

_BYTES_LIKE = (bytes, bytearray, memoryview)
_ARGUMENT, _BODY, _CALLBACK = range(3)


def bind_coded(
    function: Callable[..., Any], shape: Shape, options: Options, payload: Payload | None, subject: Subject
) -> tuple[Callable[..., Any], bool]:
    """`bind`, for a handler with a codec or a typed payload.

    Args:
        function: the handler.
        shape: what it looks like.
        options: the decorator's; without a codec it is JSON.
        payload: the parameter that takes the body, if one does by its annotation.
        subject: for messages.

    Raises:
        RegistrationError: as `bind`.
    """
    codec = "json" if options.codec is None else options.codec
    try:
        check_codec(codec)
        enter, takes_callback = _entering(function, shape, codec, options.raw, payload, subject)
        encode = encoder_of(codec, _libraries(shape, payload))
    except (MissingDependencyError, ValueError) as wrong:
        subject.refuse(str(wrong))
    # Where None says that nothing is sent, it goes on saying so.
    finish = _finishing(encode, keeps_none=takes_callback or options.stream)
    call = _calling(enter, finish, shape.code_flags)
    functools.update_wrapper(call, function)
    return call, takes_callback


def _libraries(shape: Shape, payload: Payload | None) -> set[str]:
    found = set() if payload is None else libraries_of(payload.type)
    return found | libraries_in(shape.returns, shape.namespace)


# ---- before the handler


def _entering(
    function: Callable[..., Any], shape: Shape, codec: str, raw: bool, payload: Payload | None, subject: Subject
) -> tuple[Callable[..., Any], bool]:
    """What takes the core's arguments, decodes the body and calls the handler; and whether it takes a callback."""
    if payload is None:
        call, takes_callback = positional(function, shape, "payload" if raw else "request", subject)
        return (_decoding_raw(call, decoder_of(codec)) if raw else call), takes_callback
    decode = _typed_decoder(codec, payload, subject)
    takes_callback = _check_rest(function, shape, raw, payload, subject)
    roles = {
        each.name: _BODY
        if each is payload.parameter
        else _CALLBACK
        if is_callback(each, shape.namespace)
        else _ARGUMENT
        for each in shape.parameters
    }
    by_position = tuple(roles[each.name] for each in shape.parameters if not each.keyword_only)
    by_name = {each.name: roles[each.name] for each in shape.parameters if each.keyword_only}
    if by_name or takes_callback:
        return _decoding_between(function, decode, raw, by_position, by_name), takes_callback
    if by_position == (_BODY,):
        return (_decoding_raw(function, decode) if raw else _decoding(function, decode)), False
    return _decoding_beside(function, decode, by_position[0] == _BODY), False


def _typed_decoder(codec: str, payload: Payload, subject: Subject) -> Callable[[bytes], Any]:
    try:
        return decoder_of(codec, payload.type)
    except MissingDependencyError:
        raise
    except Exception as unfit:  # what a library raises for a type that it cannot take is of every kind
        subject.refuse(f"{payload.parameter.name} cannot be decoded into {payload.name}: {unfit}")


def _check_rest(function: Callable[..., Any], shape: Shape, raw: bool, payload: Payload, subject: Subject) -> bool:
    """Check the parameters beside the payload; returns whether there is a callback."""
    rest = [each for each in shape.parameters if each is not payload.parameter]
    argument = next((each for each in rest if not is_callback(each, shape.namespace)), None)
    if argument is None:  # the payload stands where the request would
        rest.insert(0, Parameter(payload.parameter.name, None, keyword_only=False))
    elif raw:
        subject.refuse(
            f"nothing fills {argument.name}: a raw handler takes the payload, which {payload.parameter.name} is"
        )
    return positional(function, Shape(rest, False, 0, None, shape.namespace), "request", subject)[1]


def _decoding(function: Callable[..., Any], decode: Callable[[bytes], Any]) -> Callable[..., Any]:
    def enter(request: Any) -> Any:
        return function(decode(request.body))

    return enter


def _decoding_raw(function: Callable[..., Any], decode: Callable[[bytes], Any]) -> Callable[..., Any]:
    def enter(payload: bytes, *callback: object) -> Any:
        return function(decode(payload), *callback)

    return enter


def _decoding_beside(
    function: Callable[..., Any], decode: Callable[[bytes], Any], is_first: bool
) -> Callable[..., Any]:
    def enter(request: Any) -> Any:
        return function(request, decode(request.body))

    def enter_with_body_first(request: Any) -> Any:
        return function(decode(request.body), request)

    return enter_with_body_first if is_first else enter


def _decoding_between(
    function: Callable[..., Any],
    decode: Callable[[bytes], Any],
    raw: bool,
    by_position: tuple[int, ...],
    by_name: dict[str, int],
) -> Callable[..., Any]:
    """Any order, with a callback or keyword-only parameters."""

    def enter(argument: Any, callback: object = None) -> Any:
        values = (argument, decode(argument if raw else argument.body), callback)
        return function(*[values[role] for role in by_position], **{name: values[by_name[name]] for name in by_name})

    return enter


# ---- after it


def _finishing(encode: Callable[[Any], bytes], keeps_none: bool) -> Callable[[Any], Any]:
    """What makes a reply or a frame of what a handler gives."""

    def finish(result: Any) -> Any:
        if isinstance(result, _BYTES_LIKE) or (result is None and keeps_none):
            return result
        if isinstance(result, Response):
            data = result.data
            return result if isinstance(data, _BYTES_LIKE) else Response(encode(data), result.status)
        return encode(result)

    return finish


def _calling(enter: Callable[..., Any], finish: Callable[[Any], Any], code_flags: int) -> Callable[..., Any]:
    """The two together, as a function of the handler's kind."""
    if code_flags & ASYNC_GENERATOR:
        return _calling_async_generator(enter, finish)
    if code_flags & COROUTINE:
        return _calling_coroutine(enter, finish)
    if code_flags & GENERATOR:
        return _calling_generator(enter, finish)

    def call(*arguments: object) -> Any:
        return finish(enter(*arguments))

    return call


def _calling_coroutine(enter: Callable[..., Any], finish: Callable[[Any], Any]) -> Callable[..., Any]:
    async def call(*arguments: object) -> Any:
        return finish(await enter(*arguments))

    return call


def _calling_generator(enter: Callable[..., Any], finish: Callable[[Any], Any]) -> Callable[..., Any]:
    def call(argument: object) -> Generator[Any, None, Any]:
        frames = enter(argument)
        try:
            while True:
                try:
                    frame = next(frames)
                except StopIteration as end:
                    return end.value  # the core takes None alone, and says so
                yield finish(frame)
        finally:
            _close(frames)

    return call


def _close(frames: Any) -> None:
    close = getattr(frames, "close", None)  # a decorator may have made another iterator of the generator
    if close is not None:
        close()


def _calling_async_generator(enter: Callable[..., Any], finish: Callable[[Any], Any]) -> Callable[..., Any]:
    async def call(argument: object) -> AsyncIterator[Any]:
        frames = enter(argument)
        try:
            async for frame in frames:
                yield finish(frame)
        finally:
            await frames.aclose()

    return call
