"""Runs in the target Python: compiles a plugin, imports it as a host will, and tells what it found.

A request comes on stdin and the answer goes to stdout: one line of JSON, then an archive. What the plugin prints
goes to stderr.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import linecache
import marshal
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from nylon_ring_py._importer import PluginImporter
from nylon_ring_py._probe import describe
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import pack_archive, unpack_archive
from nylon_ring_py.plugin import Plugin

__all__ = ["find_plugin", "main"]

_MACHINERY = {str(Path(__file__).parents[1] / name) for name in ("_importer.py", "_resources.py", "build/child.py")}


def main() -> None:
    """Serves one request: {main, object, folder}, with the sources as archive."""
    answer_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    files = unpack_archive(sys.stdin.buffer.read())
    try:
        compiled = _compile(files, request["folder"])
        archive = pack_archive({**files, **compiled})
        answer = _inspect(archive, request)
    except BuildError as error:
        _send(answer_to, {"error": str(error)}, b"")
    else:
        _send(answer_to, answer, archive)
    # Threads that the plugin's import started must not hold the build up.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def find_plugin(module: ModuleType, wanted: str, shown: str) -> tuple[str, Plugin]:
    """Returns the plugin's attribute name and the object.

    Args:
        module: the imported main module.
        wanted: the attribute's name, or empty to search.
        shown: the file to name in errors.

    Raises:
        BuildError: there is none, or several and none is called `plugin`.
    """
    if wanted:
        found = getattr(module, wanted, None)
        if not isinstance(found, Plugin):
            what = "has no attribute" if found is None else f"has a {type(found).__name__}, not a Plugin, as"
            raise BuildError(f"{shown} {what} {wanted!r}")
        return wanted, found
    plugins = {name: value for name, value in vars(module).items() if isinstance(value, Plugin)}
    if "plugin" in plugins:
        return "plugin", plugins["plugin"]
    distinct = {id(value): name for name, value in reversed(plugins.items())}
    if not distinct:
        example = f"plugin = Plugin({module.__name__.rpartition('.')[2]!r})"
        raise BuildError(f"{shown} has no nylon_ring_py.Plugin object: add  {example}")
    if len(distinct) > 1:
        names = sorted(distinct.values())
        raise BuildError(f"{shown} has several plugins ({', '.join(names)}): name one, as in {shown}:{names[0]}")
    name = next(iter(distinct.values()))
    return name, plugins[name]


def _compile(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    compiled: dict[str, bytes] = {}
    for path in sorted(files):
        if path.endswith(".py"):
            try:
                code = compile(files[path], path, "exec", dont_inherit=True, optimize=0)
            except (SyntaxError, ValueError) as error:
                line, message = getattr(error, "lineno", None) or 1, getattr(error, "msg", None) or str(error)
                raise BuildError(f"{folder}/{path}:{line}: {type(error).__name__}: {message}") from None
            compiled[path + "c"] = _pyc_header(files[path]) + marshal.dumps(code)
    return compiled


def _pyc_header(source: bytes) -> bytes:
    """Names the source by its hash, which is never checked: the file would look the same at any time and place."""
    unchecked_hash = 1
    return importlib.util.MAGIC_NUMBER + unchecked_hash.to_bytes(4, "little") + importlib.util.source_hash(source)


def _inspect(archive: bytes, request: dict[str, Any]) -> dict[str, Any]:
    folder, main_module = request["folder"], request["main"]
    importer = PluginImporter(archive, main_module, main_module, folder)
    try:
        module = importer.load()
    except BaseException as error:
        raise BuildError(_failure(main_module, folder, error)) from None
    shown = os.path.relpath(getattr(module, "__file__", None) or main_module)
    name, plugin = find_plugin(module, request["object"], shown)
    entries = [
        {"name": key, "kind": str(entry.kind), "thread": str(entry.thread), "raw": bool(entry.raw)}
        for key, entry in plugin.entries.items()
    ]
    return {
        "name": str(plugin.name),
        "version": str(plugin.version),
        "object": name,
        "entries": entries,
        "interpreter": describe(),
        "nylon_ring_py": _package_version(),
    }


def _failure(main_module: str, folder: str, error: BaseException) -> str:
    """Tells an exception of the plugin's import with the author's frames only."""
    linecache.clearcache()
    report = traceback.TracebackException.from_exception(error)
    _drop_machinery(report, set())
    text = "".join(report.format()).rstrip()
    text = text.replace("nylon_ring_plugin_" + main_module + ".", "")
    lines = [f"importing {main_module} from {folder} failed:", text]
    if isinstance(error, ModuleNotFoundError):
        lines.append(f"Third-party modules come from the environment of {sys.executable}: is this one installed there?")
    return "\n".join(lines)


def _drop_machinery(report: traceback.TracebackException | None, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    report.stack[:] = [
        frame
        for frame in report.stack
        if frame.filename not in _MACHINERY and not frame.filename.startswith("<frozen importlib")
    ]
    _drop_machinery(report.__cause__, seen)
    _drop_machinery(report.__context__, seen)


def _package_version() -> str:
    try:
        return importlib.metadata.version("nylon-ring-py")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _send(out: IO[bytes], answer: dict[str, Any], archive: bytes) -> None:
    out.write(json.dumps(answer).encode() + b"\n" + archive)
    out.close()


if __name__ == "__main__":
    main()
