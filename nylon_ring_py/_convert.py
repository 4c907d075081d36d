"""Values of a configuration: from the text of an environment variable, and from what a file holds, to a field's type.
Imported only by `nylon_ring_py.config` and what belongs to it.
"""

from __future__ import annotations

import datetime
import enum
import json
import pathlib
import types
import typing
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

from nylon_ring_py._schema import Field, Given, Mismatch, Path, build, fields_of, kind_of

_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_ARRAYS: dict[Any, Any] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: list,
    MutableSequence: list,
}
_TABLES = (dict, Mapping, MutableMapping)
_TIMES = (datetime.datetime, datetime.date, datetime.time)


def annotation_of(default: object) -> Any:
    """The type that the value of a mapping stands for."""
    if default is None:
        return Any
    if isinstance(default, Mapping):
        return dict
    if isinstance(default, (list, tuple, set, frozenset)):
        kinds = {type(each) for each in default}
        element: Any = kinds.pop() if len(kinds) == 1 else Any
        array: Any = next(each for each in (list, tuple, set, frozenset) if isinstance(default, each))
        return tuple[element, ...] if array is tuple else array[element]
    return pathlib.Path if isinstance(default, pathlib.PurePath) else type(default)


def is_union(annotation: object) -> bool:
    """Whether an annotation is ``X | Y`` or Optional."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def from_text(text: str, annotation: Any, path: Path) -> Any:
    """Read an environment variable.

    Args:
        text: its value.
        annotation: the field's type.
        path: the keys down to the field.

    Returns:
        A plain value, as a file would hold it, for `to_type` or a library.

    Raises:
        Mismatch: the text stands for nothing of the type.
    """
    annotation = _bare(annotation)
    if is_union(annotation):
        return _union_from_text(text, annotation, path)
    shape = typing.get_origin(annotation) or annotation
    if shape is bool:
        word = _WORDS.get(text.strip().lower())
        if word is None:
            raise _mismatch(annotation, path)
        return word
    if shape in (int, float):
        try:
            return shape(text)
        except ValueError:
            raise _mismatch(annotation, path) from None
    if shape in _ARRAYS:
        return _array_from_text(text, annotation, path)
    if shape in _TABLES or kind_of(shape) is not None:
        return _json(text, annotation, dict, path)
    if shape is typing.Literal:
        return _choice(text, typing.get_args(annotation), annotation, path)
    if isinstance(shape, type) and issubclass(shape, enum.Enum):
        return _choice(text, [member.value for member in shape], annotation, path)
    return text


def to_type(value: Any, annotation: Any, path: Path) -> Any:
    """Bring a plain value to a field's type. Numbers, texts and truth values are not made of each other here.

    Args:
        value: of a file, or made by `from_text`.
        annotation: the field's type.
        path: the keys down to the field.

    Returns:
        The value. A type that is none of the built-in ones is called with a text.

    Raises:
        Mismatch: it does not fit.
    """
    annotation = _bare(annotation)
    shape = typing.get_origin(annotation) or annotation
    if shape in (Any, object) or isinstance(shape, typing.TypeVar):
        return value
    if is_union(annotation):
        return _first_that_fits(value, annotation, path)
    if shape is typing.Literal:
        return _choice_of(value, typing.get_args(annotation), annotation, path)
    if shape in _ARRAYS:
        return _array(value, annotation, path)
    if shape in _TABLES:
        return _table(value, annotation, path)
    if kind_of(shape) is not None:
        return _structure(value, shape, path)
    if shape is float and type(value) is int:
        return float(value)
    if not isinstance(shape, type) or typing.get_origin(annotation) is not None:
        raise Mismatch(path, f"its type {annotation!r} is not served: use a msgspec.Struct or a pydantic model")
    # type() and not isinstance: True is no number, and a time of day no day
    if type(value) is shape or (isinstance(value, shape) and not isinstance(value, (bool, datetime.datetime))):
        return value
    return _made(value, shape, annotation, path)


def _bare(annotation: Any) -> Any:
    """Without what says nothing about the value's type."""
    while True:
        if typing.get_origin(annotation) in (typing.Annotated, typing.Required, typing.NotRequired, typing.Final):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__") and type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _element(annotation: Any) -> Any:
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments else Any


def _union_from_text(text: str, annotation: Any, path: Path) -> Any:
    members = typing.get_args(annotation)
    if type(None) in members and not text:
        return None
    # Every text is a str, so that comes last.
    for member in sorted((each for each in members if each is not type(None)), key=lambda each: each is str):
        try:
            return from_text(text, member, path)
        except Mismatch:
            continue
    raise _mismatch(annotation, path)


def _array_from_text(text: str, annotation: Any, path: Path) -> Any:
    if text.lstrip().startswith("["):
        return _json(text, annotation, list, path)
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and Ellipsis not in arguments and len(arguments) == len(parts):
        return [from_text(part, each, path) for part, each in zip(parts, arguments, strict=True)]
    return [from_text(part, _element(annotation), path) for part in parts]


def _json(text: str, annotation: Any, wanted: type, path: Path) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        raise Mismatch(path, f"expected {describe(annotation)} as JSON") from None
    if not isinstance(value, wanted):
        raise Mismatch(path, f"expected {describe(annotation)} as JSON")
    return value


def _choice(text: str, choices: Sequence[Any], annotation: Any, path: Path) -> Any:
    for choice in choices:
        if str(choice) == text:
            return choice
    raise _mismatch(annotation, path)


def _choice_of(value: Any, choices: Sequence[Any], annotation: Any, path: Path) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return value
    raise _mismatch(annotation, path)


def _first_that_fits(value: Any, annotation: Any, path: Path) -> Any:
    if value is None and type(None) in typing.get_args(annotation):
        return None
    deepest: Mismatch | None = None
    for member in typing.get_args(annotation):
        try:
            return to_type(value, member, path)
        except Mismatch as wrong:
            if len(wrong.path) > len(path):
                deepest = wrong
    raise deepest or _mismatch(annotation, path)


def _array(value: Any, annotation: Any, path: Path) -> Any:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise _mismatch(annotation, path)
    shape, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if shape is tuple and arguments and Ellipsis not in arguments:
        if len(value) != len(arguments):
            raise _mismatch(annotation, path)
        return tuple(to_type(each, kind, path) for each, kind in zip(value, arguments, strict=True))
    return _ARRAYS[shape](to_type(each, _element(annotation), path) for each in value)


def _table(value: Any, annotation: Any, path: Path) -> Any:
    if not isinstance(value, Mapping):
        raise _mismatch(annotation, path)
    arguments = typing.get_args(annotation)
    element = arguments[1] if len(arguments) == 2 else Any
    return {key: to_type(each, element, (*path, str(key))) for key, each in value.items()}


def _structure(value: Any, config: Any, path: Path) -> Any:
    """A configuration inside an array or a table: all of it stands in the one place."""
    if isinstance(config, type) and not typing.is_typeddict(config) and isinstance(value, config):
        return value
    if not isinstance(value, Mapping):
        raise Mismatch(path, f"expected a table with the fields of {config.__name__}")
    fields: list[Field] = fields_of(config)
    for key in value:
        if key not in {field.key for field in fields}:
            raise Mismatch((*path, key), f"{config.__name__} has no such field")
    for field in fields:
        if field.required and field.key not in value:
            raise Mismatch(path, f"{field.key!r} is missing in it")
    nested = {field.key for field in fields if field.nested is not None}
    tree = {
        key: Given(_structure(each, next(f for f in fields if f.key == key).nested, (*path, key)))
        if key in nested and kind_of(config) in ("dataclass", "typeddict")
        else each
        for key, each in value.items()
    }
    return build(config, tree, path)


def _made(value: Any, shape: Any, annotation: Any, path: Path) -> Any:
    if isinstance(value, bool) and not issubclass(shape, enum.Enum):
        raise _mismatch(annotation, path)
    if issubclass(shape, pathlib.PurePath) or shape not in (int, float, str, bytes, bool, type(None)):
        try:
            if shape in _TIMES and isinstance(value, str):
                return shape.fromisoformat(value)
            if isinstance(value, str) or issubclass(shape, enum.Enum):
                return shape(value)
        except (ValueError, TypeError, ArithmeticError):
            pass  # told below, in the same words as every other mismatch
    raise _mismatch(annotation, path)


def _mismatch(annotation: Any, path: Path) -> Mismatch:
    return Mismatch(path, f"expected {describe(annotation)}")


_NAMES = {
    bool: "a truth value (true, false, 1, 0, yes, no)",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "nothing",
}


def describe(annotation: Any) -> str:
    """An annotation in words."""
    annotation = _bare(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if is_union(annotation):
        return " or ".join(describe(each) for each in typing.get_args(annotation) if each is not type(None))
    shape, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if shape is typing.Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if isinstance(shape, type) and issubclass(shape, enum.Enum):
        return "one of " + ", ".join(repr(member.value) for member in shape)
    if shape in _ARRAYS:
        return "a list" + (f", each {describe(arguments[0])}" if arguments else "")
    if shape in _TABLES:
        return "a table"
    return str(getattr(annotation, "__name__", annotation))
