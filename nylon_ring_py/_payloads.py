"""Which parameter of a handler is filled with the decoded body, and of what type it is."""

from __future__ import annotations

from types import GenericAlias, UnionType

from nylon_ring_py._core import Body, Request
from nylon_ring_py._signature import is_callback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nylon_ring_py._signature import Parameter, Shape, Subject
    from nylon_ring_py.entry import Options

# Names that are often imported for type checkers only, and then mean nothing when a module runs.
_PLAIN_NAMES = frozenset(("Any", "Body", "Callback", "Request", "bytes", "object"))


class Payload:
    """The parameter that takes the body.

    `type` is its annotation, evaluated; `name` is the type's, for messages.
    """

    __slots__ = ("name", "parameter", "type")

    def __init__(self, parameter: Parameter, type_: object, name: str) -> None:
        self.parameter = parameter
        self.type = type_
        self.name = name


def is_plain(annotation: object) -> bool:
    """Whether an annotation asks for nothing special: there is none, or it names the request, the payload's bytes or
    any object. Cheap, for every handler is asked.
    """
    if annotation is None or annotation in (Request, bytes, object, Body):
        return True
    text = getattr(annotation, "__forward_arg__", annotation)
    return isinstance(text, str) and text.strip(" '\"").rpartition(".")[2] in _PLAIN_NAMES


def find_payload(shape: Shape, options: Options, subject: Subject) -> Payload | None:
    """Find the parameter that takes the body, decoded.

    That is the one whose annotation has a type of payload in it; with a codec also the handler's only one, whatever
    it is annotated with but a Request, Any or object.

    Args:
        shape: the handler's.
        options: the decorator's.
        subject: for messages.

    Returns:
        The parameter; None where the handler takes its argument as it is.

    Raises:
        RegistrationError: there are two of them, or an annotation cannot be evaluated.
    """
    others = [each for each in shape.parameters if not is_callback(each, shape.namespace)]
    found = []
    for parameter in others:
        if is_plain(parameter.annotation) and not _is_unfit(parameter, others, options):
            continue
        name = parameter.name
        what = f"the annotation of {name}," if parameter is others[0] else f"nothing fills {name}, since its annotation"
        type_ = evaluated(parameter.annotation, what, shape.namespace, subject)
        is_asked_for = options.codec is not None and len(others) == 1 and not _means_anything(type_)
        if is_asked_for or libraries_of(type_):
            found.append(Payload(parameter, type_, name_of(type_)))
    if len(found) > 1:
        names = ", ".join(each.parameter.name for each in found)
        subject.refuse(f"{names} would all be the body: one parameter can take it")
    if not found:
        return None
    if found[0].type is bytes and options.codec == "json":
        subject.refuse(
            f'{found[0].parameter.name} is annotated bytes, and codec="json" gives what the body holds, decoded: '
            "annotate that, or Any; or leave codec= out to get the bytes"
        )
    return found[0]


def evaluated(annotation: object, what: str, namespace: Mapping[str, object], subject: Subject) -> object:
    """The object an annotation means, where it is text or has text in it.

    Args:
        annotation: as it stands at the function.
        what: it is, for the message.
        namespace: of the function's module.
        subject: for the message.

    Raises:
        RegistrationError: it cannot be evaluated while the module is imported.
    """
    if isinstance(annotation, type) and not isinstance(annotation, GenericAlias):
        return annotation
    import typing

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, dict(namespace), include_extras=True)["it"]
    except Exception as unknown:  # an annotation is code, and can raise anything
        text = getattr(annotation, "__forward_arg__", annotation)
        subject.refuse(
            f"{what} {text!r} cannot be evaluated now ({type(unknown).__name__}: {unknown}), and it may be the type "
            "of a body: define or import its names at the top of the module, above the handler, and not for type "
            "checkers only"
        )


def libraries_of(annotation: object) -> set[str]:
    """The libraries, of "msgspec", "pydantic" and "pydantic 1", whose types an annotation has in it anywhere."""
    return {library for part in _parts(annotation, []) for library in _library_of(part)}


def libraries_in(annotation: object, namespace: Mapping[str, object]) -> set[str]:
    """`libraries_of`, and of text what the names in it mean in the function's module; those it does not know, such as
    an Iterator imported for type checkers only, mean nothing.
    """
    if not isinstance(annotation, str):
        return libraries_of(annotation)
    import re

    found: set[str] = set()
    for name in re.findall(r"[^\W\d][\w.]*", annotation):
        first, *attributes = name.split(".")
        meant = namespace.get(first)
        for attribute in attributes:
            meant = getattr(meant, attribute, None)
        found |= libraries_of(meant)
    return found


def is_struct(kind: type) -> bool:
    """Whether a class is a msgspec Struct."""
    return isinstance(getattr(kind, "__struct_fields__", None), tuple)


def is_model(kind: type) -> bool:
    """Whether a class is a pydantic model or a dataclass of pydantic's."""
    return hasattr(kind, "__pydantic_serializer__")


def is_dataclass(kind: type) -> bool:
    """Whether a class is a dataclass."""
    return hasattr(kind, "__dataclass_fields__")


def name_of(annotation: object) -> str:
    """A type as its author would write it, without modules: ``list[Order]``."""
    if isinstance(annotation, type) and not isinstance(annotation, GenericAlias):
        return annotation.__name__
    import re

    return re.sub(r"(?:[\w<>]+\.)+(?=\w)", "", str(annotation))


def _is_unfit(parameter: Parameter, others: list[Parameter], options: Options) -> bool:
    """bytes beside a codec: what a handler takes that would get something else now."""
    return options.codec is not None and len(others) == 1 and parameter.annotation in (bytes, "bytes")


def _means_anything(type_: object) -> bool:
    if type_ is Request or type_ is object or type_ is None:
        return True
    import typing

    return type_ is typing.Any


def _library_of(kind: object) -> Iterator[str]:
    if not isinstance(kind, type):
        return
    if is_model(kind):
        yield "pydantic"
    elif any(base.__name__ == "BaseModel" and base.__module__.startswith("pydantic") for base in kind.__mro__):
        yield "pydantic 1"
    elif is_struct(kind) or is_dataclass(kind) or (issubclass(kind, dict) and hasattr(kind, "__total__")):
        yield "msgspec"


def _parts(annotation: object, seen: list[object]) -> Iterator[object]:
    """An annotation and all it is made of; an alias may have itself in it."""
    if any(annotation is each for each in seen):
        return
    seen.append(annotation)
    yield annotation
    if isinstance(annotation, type) and not isinstance(annotation, GenericAlias):
        return
    if getattr(getattr(annotation, "__origin__", None), "__name__", None) == "Callable":
        return  # what a function takes is none of the function
    for name in ("__origin__", "__supertype__", "__value__"):
        part = getattr(annotation, name, None)
        if part is not None:
            yield from _parts(part, seen)
    parts = annotation.__args__ if isinstance(annotation, UnionType) else getattr(annotation, "__args__", ())
    if isinstance(parts, tuple):
        for part in parts:
            yield from _parts(part, seen)
