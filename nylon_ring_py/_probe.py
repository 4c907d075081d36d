"""Describes the running interpreter to the stub: `python -I -m nylon_ring_py._probe` prints `key=value` lines."""

# pathlib takes longer to load than all that is asked here, and a host waits for it.
# ruff: noqa: PTH100, PTH113, PTH117, PTH118, PTH120, PTH123

from __future__ import annotations

import _imp
import os
import sys
import sysconfig

__all__ = ["describe", "find_core", "find_libpython"]


def describe() -> dict[str, str]:
    """Returns what the stub must know to start this interpreter inside a host.

    Returns:
        python: path of the executable, the environment's own one and not what it links to.
        python_version: such as ``"3.11"``.
        free_threaded: ``"1"`` for a build without a GIL, else ``"0"``.
        libpython: absolute path of the shared library, empty when there is none.
        libpython_tried: only then: the paths that were tried, separated by ``:``.
        core: absolute path of this package's extension module, empty when there is none.
        prefix, base_prefix: those of `sys`.
    """
    libpython, tried = find_libpython()
    found = {
        "python": os.path.abspath(sys.executable) if sys.executable else "",
        "python_version": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "free_threaded": "1" if "t" in getattr(sys, "abiflags", "") else "0",
        "libpython": libpython,
        "core": find_core(),
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
    }
    if not libpython:
        found["libpython_tried"] = ":".join(tried)
    return found


def find_libpython() -> tuple[str, list[str]]:
    """Returns the absolute path of the shared libpython, empty when there is none, and all paths tried."""
    tried: list[str] = []
    for candidate in _libpython_candidates():
        if candidate not in tried:
            tried.append(candidate)
            if os.path.isfile(candidate):
                return candidate, tried
    return "", tried


def find_core() -> str:
    """Returns the absolute path of `nylon_ring_py._core` for this interpreter, empty when there is none.

    The module is not imported: it belongs into a host, and its file is all that is asked for.
    """
    loaded: object = getattr(sys.modules.get("nylon_ring_py._core"), "__file__", None)
    if isinstance(loaded, str):
        return os.path.abspath(loaded)
    folder = os.path.dirname(os.path.abspath(__file__))
    for suffix in _imp.extension_suffixes():
        path = os.path.join(folder, f"_core{suffix}")
        if os.path.isfile(path):
            return path
    return ""


def _libpython_candidates() -> list[str]:
    name = _libpython_name()
    libdir, multiarch = _variable("LIBDIR"), _variable("MULTIARCH")
    folders = [libdir, os.path.join(sys.base_prefix, "lib")]
    if multiarch:
        folders += [os.path.join(folder, multiarch) for folder in folders if folder]
        folders.append(os.path.join("/usr/lib", multiarch))
    return _from_build_details() + [os.path.join(folder, name) for folder in folders if os.path.isabs(folder)]


def _libpython_name() -> str:
    name = _variable("INSTSONAME")
    if ".so" in name:
        return name
    version = _variable("LDVERSION") or f"{sys.version_info[0]}.{sys.version_info[1]}{sys.abiflags}"
    return f"libpython{version}.so.1.0"


def _from_build_details() -> list[str]:
    """Python 3.14 and above say it in a file beside the standard library."""
    path = os.path.join(sysconfig.get_path("stdlib"), "build-details.json")
    if not os.path.isfile(path):
        return []
    import json

    try:
        with open(path, encoding="utf-8") as file:
            details = json.load(file)
        library = details.get("libpython", {}).get("dynamic", "")
        base = os.path.join(os.path.dirname(path), details.get("base_prefix", ""))
    except (OSError, ValueError, AttributeError) as error:
        print(f"nylon-ring: {path} is left out, it cannot be read: {error}", file=sys.stderr)
        return []
    return [os.path.normpath(os.path.join(base, library))] if library else []


def _variable(name: str) -> str:
    return str(sysconfig.get_config_var(name) or "")


if __name__ == "__main__":
    for key, value in describe().items():
        sys.stdout.buffer.write(os.fsencode(f"{key}={value}\n"))
