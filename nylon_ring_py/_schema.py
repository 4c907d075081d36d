"""The fields of a configuration, and how an instance is made of their values: of dataclasses, TypedDicts, mappings,
msgspec Structs and pydantic models. Imported only by `nylon_ring_py.config`, so only where a plugin has one.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["dataclass", "typeddict", "msgspec", "pydantic", "mapping"]
Path: TypeAlias = tuple[str, ...]
NOTHING: Any = object()
"""Where None is a value like any other."""


class Mismatch(Exception):
    """A value that is not what its field takes.

    Args:
        path: the keys down to it.
        reason: what was expected, as a clause.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field: `key` in a file, `attribute` in Python; `nested` is the configuration it holds, if it is one."""

    key: str
    attribute: str
    annotation: Any
    required: bool
    default: Any  # NOTHING where there is none, or where nobody asks: only that of a nested one is looked at
    nested: Any = None


def kind_of(config: object) -> Kind | None:
    """Which kind of configuration this is; None where it is none."""
    if isinstance(config, type):
        if hasattr(config, "__struct_fields__") and hasattr(config, "__struct_config__"):
            return "msgspec"
        if hasattr(config, "__pydantic_validator__") and hasattr(config, "model_validate"):
            return "pydantic"
        if dataclasses.is_dataclass(config):
            return "dataclass"
        return "typeddict" if typing.is_typeddict(config) else None
    return "mapping" if isinstance(config, Mapping) and all(isinstance(key, str) for key in config) else None


def fields_of(config: Any) -> list[Field]:
    """The fields of a configuration, in order.

    Raises:
        NameError: an annotation names something that is not in its module.
    """
    fields: list[Field] = _FIELDS[_known_kind(config)](config)
    return fields


def default_tree(config: Any, instance: object) -> Any:
    """What a default of a nested field consists of: a mapping for libraries, which make it anew, else the object."""
    kind = _known_kind(config)
    if kind == "msgspec":
        import msgspec

        return msgspec.to_builtins(instance, enc_hook=str)
    return instance.model_dump(by_alias=True) if kind == "pydantic" else instance  # type: ignore[attr-defined]


def build(config: Any, tree: Mapping[str, Any], path: Path = ()) -> Any:
    """Make the instance.

    Args:
        config: the class or mapping.
        tree: plain values by key, nested ones as mappings; `Given` values are taken as they are.
        path: the keys down to it, for `Mismatch`.

    Returns:
        An instance of the class; a dict for a TypedDict or a mapping.

    Raises:
        Mismatch: a value is not what its field takes; an ExceptionGroup of them where several are known.
    """
    kind = _known_kind(config)
    if kind == "msgspec":
        return _build_struct(config, tree, path)
    if kind == "pydantic":
        return _build_model(config, tree, path)
    values = {}
    for field in fields_of(config):
        if field.key in tree:
            values[field.attribute] = _value_of(field, tree[field.key], (*path, field.key))
    if kind != "dataclass":
        return values
    try:
        return config(**values)
    except (ValueError, TypeError) as wrong:  # of __post_init__
        raise Mismatch(path, f"{config.__name__} refuses it: {wrong}") from wrong


class Given:
    """A value of the author's own: a default that needs no conversion."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _known_kind(config: object) -> Kind:
    kind = kind_of(config)
    assert kind is not None, f"{config!r} is no configuration"
    return kind


def _value_of(field: Field, value: Any, path: Path) -> Any:
    if isinstance(value, Given):
        return value.value
    if field.nested is not None:
        return build(field.nested, value, path)
    from nylon_ring_py._convert import to_type

    return to_type(value, field.annotation, path)


# ---- the kinds


def _dataclass_fields(config: Any) -> list[Field]:
    hints = typing.get_type_hints(config, include_extras=True)
    found = []
    for each in dataclasses.fields(config):
        if each.init:
            has_factory = each.default_factory is not dataclasses.MISSING
            required = each.default is dataclasses.MISSING and not has_factory
            annotation = hints[each.name]
            nested = _nested(annotation)
            default = NOTHING
            if nested is not None and not required:
                default = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
            found.append(Field(each.name, each.name, annotation, required, default, nested))
    return found


def _typeddict_fields(config: Any) -> list[Field]:
    found = []
    for key, hint in typing.get_type_hints(config, include_extras=True).items():
        marker = typing.get_origin(hint)
        marked = marker in (typing.Required, typing.NotRequired)
        required = marker is typing.Required if marked else key in config.__required_keys__
        annotation = typing.get_args(hint)[0] if marked else hint
        found.append(Field(key, key, annotation, required, NOTHING, _nested(annotation)))
    return found


def _struct_fields(config: Any) -> list[Field]:
    import msgspec

    found = []
    for each in msgspec.structs.fields(config):
        nested = _nested(each.type)
        default = NOTHING
        if nested is not None and not each.required:
            default = each.default if each.default is not msgspec.NODEFAULT else each.default_factory()
        found.append(Field(each.encode_name, each.name, each.type, each.required, default, nested))
    return found


def _model_fields(config: Any) -> list[Field]:
    found = []
    for name, each in config.model_fields.items():
        alias = each.validation_alias if isinstance(each.validation_alias, str) else each.alias
        nested = _nested(each.annotation)
        required = each.is_required()
        default = NOTHING if nested is None or required else each.get_default(call_default_factory=True)
        found.append(Field(alias or name, name, each.annotation, required, default, nested))
    return found


def _mapping_fields(config: Mapping[str, Any]) -> list[Field]:
    from nylon_ring_py._convert import annotation_of

    return [
        Field(key, key, annotation_of(value), False, value, value if value and kind_of(value) == "mapping" else None)
        for key, value in config.items()
    ]


_FIELDS: Any = {
    "dataclass": _dataclass_fields,
    "typeddict": _typeddict_fields,
    "msgspec": _struct_fields,
    "pydantic": _model_fields,
    "mapping": _mapping_fields,
}


def _nested(annotation: Any) -> Any:
    """The configuration class that an annotation names, itself or as the only one of a union; None without."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _nested(typing.get_args(annotation)[0])
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation if kind_of(annotation) is not None else None
    from nylon_ring_py._convert import is_union

    if not is_union(annotation):
        return None
    found = [each for each in map(_nested, typing.get_args(annotation)) if each is not None]
    return found[0] if len(found) == 1 else None


def _build_struct(config: Any, tree: Mapping[str, Any], path: Path) -> Any:
    import msgspec

    from nylon_ring_py._convert import to_type

    try:
        return msgspec.convert(tree, config, dec_hook=lambda annotation, value: to_type(value, annotation, ()))
    except Mismatch as wrong:
        raise Mismatch(path, wrong.reason) from None
    except msgspec.ValidationError as wrong:
        reason, _, place = str(wrong).partition(" - at `$")
        keys = tuple(key.partition("[")[0] for key in place.rstrip("`").split(".") if key)
        raise Mismatch((*path, *keys), reason[:1].lower() + reason[1:]) from wrong


def _build_model(config: Any, tree: Mapping[str, Any], path: Path) -> Any:
    import pydantic

    try:
        return config.model_validate(tree)
    except pydantic.ValidationError as wrong:
        found = [Mismatch((*path, *map(str, each["loc"])), each["msg"]) for each in wrong.errors()]
        raise ExceptionGroup("pydantic", found) from wrong
