"""Where a plugin's configuration comes from: defaults, the TOML file beside the plugin, and the environment.

Imported when a plugin that has one is loaded; docs/authoring.md, Configuration, has the rules.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nylon_ring_py._convert import from_text
from nylon_ring_py._schema import NOTHING, Field, Given, Mismatch, build, default_tree, fields_of, kind_of
from nylon_ring_py.errors import ConfigError, NotBoundError

__all__ = ["ConfigError", "check_read", "environment_name", "read_config"]

FILE_VARIABLE = "NYLON_RING_CONFIG_"


def environment_name(name: str) -> str:
    """A name as environment variables have it: ASCII letters upper-case, and ``_`` for all but them and digits."""
    return "".join(each.upper() if each.isascii() and each.isalnum() else "_" for each in name)


def check_read(config: type, plugin_name: str) -> None:
    """Refuse to give a class where its values are wanted.

    Raises:
        NotBoundError: it is one that `read_config` makes an instance of.
    """
    if kind_of(config) is not None:
        raise NotBoundError(
            f"plugin.config of {plugin_name!r} has no values yet: they are read when a host loads the plugin. Use them "
            f"from lifespans and on_init on; in a test, assign one: plugin.config = {config.__name__}(...)"
        )


def read_config(config: Any, plugin_name: str, origin: str, environ: Mapping[str, str] = os.environ) -> Any:
    """Read a plugin's configuration.

    Args:
        config: a dataclass, TypedDict, msgspec.Struct or pydantic model, or a mapping of defaults. Anything else is
            given back as it is.
        plugin_name: begins the names of environment variables.
        origin: the plugin file; beside it may be a file with the suffix ``.toml``. Empty where there is none.
        environ: the environment.

    Returns:
        An instance of the class; a dict for a TypedDict or a mapping.

    Raises:
        ConfigError: a file cannot be read, has a key that is not known or a value that does not fit; so has a
            variable; or a field has no value. The message says where each comes from.
    """
    kind = kind_of(config)
    if kind is None:
        return config
    reading = _Reading(plugin_name, environ, *_read_file(plugin_name, origin, environ))
    base = config if kind == "mapping" else NOTHING
    try:
        tree, missing = reading.collect(fields_of(config), reading.table, (), reading.prefix, base, (config,))
        if missing:
            raise ConfigError("; ".join(missing))
        made = build(config, tree)
    except Mismatch as wrong:
        raise ConfigError(reading.explain(wrong)) from wrong.__cause__
    except ExceptionGroup as several:
        raise ConfigError("; ".join(reading.explain(wrong) for wrong in several.exceptions)) from several.__cause__
    reading.warn_of_unknown_variables()
    return made


def _read_file(plugin_name: str, origin: str, environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The path and the content of the TOML file; nothing where there is none."""
    variable = FILE_VARIABLE + environment_name(plugin_name)
    named = environ.get(variable, "")
    if not named and not origin:
        return "", {}
    path = Path(named) if named else Path(origin).with_suffix(".toml")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if not named:
            return str(path), {}
        raise ConfigError(f"{variable} names the file {named!r}, which is not there") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    import tomllib

    try:
        return str(path), tomllib.loads(data.decode())
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigError(f"{path}: is no TOML file in UTF-8: {error}") from error


class _Reading:
    """One reading: where each value was found, and which variables belong to a field."""

    def __init__(self, plugin_name: str, environ: Mapping[str, str], file: str, table: dict[str, Any]) -> None:
        self.table = table
        self.prefix = environment_name(plugin_name) + "_"
        self._plugin_name = plugin_name
        self._file = file
        self._environ = environ
        self._found = 0  # values so far, of the file and the environment
        self._sources: dict[tuple[str, ...], str] = {}
        self._variables: set[str] = set()

    def collect(
        self,
        fields: list[Field],
        table: Mapping[str, Any],
        path: tuple[str, ...],
        prefix: str,
        base: Any,
        inside: tuple[object, ...],
    ) -> tuple[dict[str, Any], list[str]]:
        """Bring together the values of one configuration.

        Args:
            fields: its fields.
            table: what the file has for it.
            path: the keys down to it.
            prefix: of its environment variables.
            base: an object with its defaults, else NOTHING.
            inside: the configurations around it, and itself: one that holds itself is not followed.

        Returns:
            Plain values by key, as far as there are any, and the fields without.
        """
        tree: dict[str, Any] = {}
        missing: list[str] = []
        self._check_keys(fields, table, path)
        for field in fields:
            here, variable = (*path, field.key), prefix + environment_name(field.key)
            if field.key in table:
                self._sources[here] = f"{self._file}: {'.'.join(here)} = {table[field.key]!r}"
            if field.nested is not None and not any(field.nested is each for each in inside):
                part = _part(base, field)
                missing += self._collect_nested(field, table, here, variable, part, inside, tree)
                continue
            self._variables.add(variable)
            text = self._environ.get(variable)
            if text is not None:
                self._sources[here] = f"{variable}={text!r}"
                tree[field.key] = from_text(text, field.annotation, here)
                self._found += 1
            elif field.key in table:
                self._found += 1
                tree[field.key] = table[field.key]
            elif base is not NOTHING:
                default = _part(base, field)
                tree[field.key] = Given(default) if _is_built_here(inside) else default
            elif field.required:
                missing.append(self._missing(here, variable))
        return tree, missing

    def _collect_nested(
        self,
        field: Field,
        table: Mapping[str, Any],
        here: tuple[str, ...],
        variable: str,
        base: Any,
        inside: tuple[object, ...],
        tree: dict[str, Any],
    ) -> list[str]:
        """Put the values of a nested configuration into `tree`; gives the fields without one."""
        below = table.get(field.key, {})
        if not isinstance(below, Mapping):
            raise Mismatch(here, "expected a table")
        default = field.default if base is NOTHING else base
        if default is None:
            default = NOTHING
        elif default is not NOTHING and not isinstance(default, Mapping):
            default = default_tree(field.nested, default)
        before = self._found
        fields = fields_of(field.nested)
        values, missing = self.collect(fields, below, here, variable + "__", default, (*inside, field.nested))
        if self._found > before or field.key in table or field.required or isinstance(field.nested, Mapping):
            tree[field.key] = values
            return missing
        if base is not NOTHING:
            tree[field.key] = Given(base) if _is_built_here(inside) else base
        return []

    def _check_keys(self, fields: list[Field], table: Mapping[str, Any], path: tuple[str, ...]) -> None:
        known = [field.key for field in fields]
        for key in table:
            if key not in known:
                from difflib import get_close_matches

                close = get_close_matches(key, known, 1)
                guess = f"; did you mean {close[0]!r}?" if close else ""
                raise ConfigError(
                    f"{self._file}: the key {'.'.join((*path, key))!r} is not known{guess} "
                    f"(known here: {', '.join(known) or 'none'})"
                )

    def _missing(self, path: tuple[str, ...], variable: str) -> str:
        place = f"in {self._file} under {'.'.join(path)}, or " if self._file else ""
        field = ".".join(path)
        return f"the field {field!r} of the configuration has no value: set it {place}in the environment as {variable}"

    def explain(self, wrong: Exception) -> str:
        """Say where a value comes from, what it is, and what was expected."""
        if not isinstance(wrong, Mismatch):
            return str(wrong)
        for length in range(len(wrong.path), 0, -1):
            source = self._sources.get(wrong.path[:length])
            if source is not None:
                below = f" (at {'.'.join(wrong.path)})" if length < len(wrong.path) else ""
                return f"{source}{below}: {wrong.reason}"
        where = ".".join(wrong.path)
        return f"the configuration{f' at {where}' if where else ''}: {wrong.reason}"

    def warn_of_unknown_variables(self) -> None:
        """Log the variables that look like the plugin's, and are not."""
        unknown = sorted(each for each in self._environ if each.startswith(self.prefix) and each not in self._variables)
        if unknown:
            import logging

            logging.getLogger(f"nylon_ring.{self._plugin_name}").warning(
                "these environment variables belong to no field of the configuration: %s (known: %s)",
                ", ".join(unknown),
                ", ".join(sorted(self._variables)) or "none",
            )


def _part(base: Any, field: Field) -> Any:
    """What an object with defaults has for a field."""
    if base is NOTHING:
        return NOTHING
    return base[field.key] if isinstance(base, Mapping) else getattr(base, field.attribute)


def _is_built_here(inside: tuple[object, ...]) -> bool:
    """Whether `build` takes these values itself, and no library, which knows nothing of `Given`."""
    return not any(kind_of(each) in ("msgspec", "pydantic") for each in inside)
