"""How a handler is called: its parameters, its callback, and a form of it that is called by position alone."""

from __future__ import annotations

import sys
from types import FunctionType, UnionType

from nylon_ring_py._core import Callback
from nylon_ring_py.errors import RegistrationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NoReturn

# Bits of co_flags. The module inspect names them too, but importing it takes longer than the rest of the package.
VARARGS, GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x04, 0x20, 0x80, 0x200


class Subject:
    """What is being registered, for messages: ``file.py:12: entry 'feed' (feed): ...``."""

    __slots__ = ("function", "what")

    def __init__(self, what: str, function: Callable[..., Any]) -> None:
        self.what = what
        self.function = function

    def refuse(self, reason: str) -> NoReturn:
        """Raise RegistrationError with the reason."""
        raise RegistrationError(self._message(reason))

    def name(self) -> str:
        """The function's name as its author wrote it."""
        return getattr(self.function, "__qualname__", None) or type(self.function).__name__

    def _message(self, reason: str) -> str:
        return f"{location(self.function)}: {self.what} ({self.name()}): {reason}"


class Parameter:
    """One parameter that a caller has to fill."""

    __slots__ = ("annotation", "keyword_only", "name")

    def __init__(self, name: str, annotation: object, keyword_only: bool) -> None:
        self.name = name
        self.annotation = annotation
        self.keyword_only = keyword_only


class Shape:
    """The parameters of a callable, whether it has ``*args`` too, its code flags, the annotation of what it returns
    (None where there is none), and the globals in which its string annotations mean something.
    """

    __slots__ = ("code_flags", "namespace", "parameters", "returns", "variadic")

    def __init__(
        self,
        parameters: list[Parameter],
        variadic: bool,
        code_flags: int,
        returns: object,
        namespace: Mapping[str, object],
    ) -> None:
        self.parameters = parameters
        self.variadic = variadic
        self.code_flags = code_flags
        self.returns = returns
        self.namespace = namespace


def shape_of(function: Callable[..., Any], subject: Subject) -> Shape:
    """Look a callable over.

    A decorated function (functools.wraps) has the parameters of what it wraps, and is a generator function if that is
    one, since most decorators pass on what they get. A plain def around a coroutine function is no coroutine function:
    it may well run it to its end.

    Raises:
        RegistrationError: it is not callable, or does not tell its signature.
    """
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        return _plain_shape(function)
    if not callable(function):
        subject.refuse(f"a function is registered here, not an object of type {type(function).__name__}")
    return _inspected_shape(function, subject)


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return bool(shape_of(function, Subject("function", function)).code_flags & COROUTINE)


def positional(
    function: Callable[..., Any], shape: Shape, argument: str, subject: Subject
) -> tuple[Callable[..., Any], bool]:
    """Bring a handler into the form that is called by position: with its argument, and a callback if it takes one.

    Args:
        function: the handler.
        shape: what it looks like.
        argument: what its first argument is, for messages.
        subject: for messages.

    Returns:
        The handler, wrapped only where its order needs it, and whether it takes a callback.

    Raises:
        RegistrationError: it has no parameter for its argument, or one that nothing would fill.
    """
    callbacks = [parameter for parameter in shape.parameters if is_callback(parameter, shape.namespace)]
    others = [parameter for parameter in shape.parameters if parameter not in callbacks]
    if len(callbacks) > 1:
        subject.refuse(f"it has {len(callbacks)} callback parameters: {', '.join(each.name for each in callbacks)}")
    if not others and not shape.variadic:
        subject.refuse(f"it has no parameter for the {argument}: write def {subject.name()}({argument})")
    extra = [parameter.name for i, parameter in enumerate(others) if i > 0 or parameter.keyword_only]
    if extra:
        subject.refuse(
            f"nothing fills {', '.join(extra)}: a handler takes the {argument} by position, and may take a parameter "
            "named callback or annotated Callback, and one that is annotated with the type of its body: a msgspec "
            "Struct, a dataclass, a TypedDict or a pydantic model; bind fixed values with functools.partial"
        )
    if not callbacks:
        return function, False
    callback = callbacks[0]
    if callback.keyword_only:
        return _callback_by_keyword(function, callback.name), True
    if callback is shape.parameters[0]:
        return _callback_first(function), True
    return function, True


def location(function: Callable[..., Any]) -> str:
    """Where a callable was written.

    Returns:
        ``file:line``, or the name of its type in angle brackets where it has no Python code.
    """
    found = f"<{type(function).__name__}>"
    for step in chain(function):
        code = getattr(step, "__code__", None)
        if code is not None:
            found = f"{code.co_filename}:{code.co_firstlineno}"
    return found


def _plain_shape(function: FunctionType) -> Shape:
    code = function.__code__
    count = code.co_argcount
    names = code.co_varnames[: count + code.co_kwonlyargcount]
    annotations = _annotations(function)
    parameters = [Parameter(name, annotations.get(name), i >= count) for i, name in enumerate(names)]
    variadic = bool(code.co_flags & VARARGS)
    return Shape(parameters, variadic, code.co_flags, annotations.get("return"), function.__globals__)


def _annotations(function: FunctionType) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        # Annotations are evaluated when they are read there, and names imported for type checkers only are missing.
        try:
            return function.__annotations__
        except Exception:
            import annotationlib

            return annotationlib.get_annotations(function, format=annotationlib.Format.STRING)
    return function.__annotations__


def _inspected_shape(function: Callable[..., Any], subject: Subject) -> Shape:
    import inspect

    try:
        if sys.version_info >= (3, 14):
            import annotationlib

            signature = inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
        else:
            signature = inspect.signature(function)
    except (TypeError, ValueError) as unknown:
        subject.refuse(f"its signature cannot be read ({unknown}); wrap it in a def")
    code_flags: int | None = None
    namespace: Mapping[str, object] = {}
    bound: set[str] = set()
    for step in chain(function):
        code = getattr(step, "__code__", None)
        if code_flags is None:
            code_flags = code.co_flags if code is not None else None
        elif code is not None:
            code_flags |= code.co_flags & GENERATOR
        namespace = getattr(step, "__globals__", namespace)
        bound.update(getattr(step, "keywords", None) or ())
    parameters, variadic = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = True
        elif parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in bound:
            keyword_only = parameter.kind is parameter.KEYWORD_ONLY
            annotation = None if parameter.annotation is parameter.empty else parameter.annotation
            parameters.append(Parameter(parameter.name, annotation, keyword_only))
    returns = None if signature.return_annotation is signature.empty else signature.return_annotation
    return Shape(parameters, variadic, code_flags or 0, returns, namespace)


def chain(function: Any) -> Iterator[Any]:
    """A callable and everything it is built from, the innermost last: partials, methods, decorators, __call__."""
    seen: list[object] = []
    while function is not None and not any(function is step for step in seen):
        seen.append(function)
        yield function
        if type(function) is FunctionType:
            function = getattr(function, "__wrapped__", None)
            continue
        for inner in ("__wrapped__", "func", "__func__"):
            if hasattr(function, inner):
                function = getattr(function, inner)
                break
        else:
            mro = () if isinstance(function, type) else type(function).__mro__
            call = next((vars(base)["__call__"] for base in mro if "__call__" in vars(base)), None)
            function = call if type(call) is FunctionType else None


def is_callback(parameter: Parameter, namespace: Mapping[str, object]) -> bool:
    """Whether a parameter takes the callback, by its name or its annotation."""
    return parameter.name == "callback" or _means_callback(parameter.annotation, namespace)


def _means_callback(annotation: object, namespace: Mapping[str, object]) -> bool:
    """Whether an annotation is Callback or a union with it, as an object or as text."""
    if annotation is Callback:
        return True
    if isinstance(annotation, str):
        text = annotation.strip(" '\"")
        if text.endswith("]") and text.partition("[")[0].rpartition(".")[2] == "Optional":
            text = text.partition("[")[2][:-1]
        return any(_names_callback(part.strip(" '\""), namespace) for part in text.split("|"))
    if isinstance(annotation, UnionType):
        return Callback in annotation.__args__
    if "typing" not in sys.modules:
        return False
    import typing  # by import, which waits where another thread is in the middle of its own

    return getattr(annotation, "__origin__", None) is typing.Union and Callback in annotation.__args__  # type: ignore[attr-defined]


def _names_callback(text: str, namespace: Mapping[str, object]) -> bool:
    first, *attributes = text.split(".")
    if (attributes or [first])[-1] == "Callback":  # imported for type checkers only, maybe: the name must do
        return True
    found: object = namespace.get(first)
    for attribute in attributes:
        found = getattr(found, attribute, None)
    return found is Callback


def _callback_by_keyword(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(argument: object, callback: Callback) -> Any:
        return function(argument, **{name: callback})

    return call


def _callback_first(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(argument: object, callback: Callback) -> Any:
        return function(callback, argument)

    return call
