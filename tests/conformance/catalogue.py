"""Which hosts and plugins there are: ours, and those that the command line names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.case import ABIS
from conformance.pair import PluginFiles

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: Set to 0 where native plugins have had their run: they are the same, whatever Python runs the suite.
NATIVE = "NRPY_CONFORMANCE_NATIVE"

#: Entries of docs/conformance.md that the native plugins do not have yet.
NATIVE_LACKS = (
    *("prepared", "typed", "fail_async", "count_async", "count_fail_async"),
    *("endless_async", "chat_async", "chat_object", "deadline", "deadline_async", "idle", "overstays"),
    *("limited", "limited_async", "full_inbox"),
)

PLUGIN_FORM = "NAME=PATH[,refuses=PATH][,plain=PATH][,abi=v1|v1-raw|v2][,lacks=ENTRY+…]"

FILES = ("main", "refuses", "plain")


class Missing(Exception):
    """A host or plugin that cannot be run here: what is missing, and how to come by it."""


class BuildFailed(Exception):
    """A plugin's source that build-plugin does not take."""


@dataclass(frozen=True)
class HostSource:
    """A host. `command` gives its driver's command, or raises `Missing`. Without a name the driver is asked for it."""

    name: str
    command: Callable[[], Sequence[str] | str]


@dataclass(frozen=True)
class PluginSource:
    """A plugin and its ABIs. `files` gives its files for one of them, or raises `Missing`; those of a plugin that is
    `built_here` are made then, or `BuildFailed` is raised. It `lacks` entries that cases can do without."""

    name: str
    abis: Sequence[str]
    files: Callable[[str], PluginFiles]
    built_here: bool = False
    lacks: Sequence[str] = ()


# ---- ours ----


def our_hosts() -> list[HostSource]:
    """The hosts of this project, built or not."""
    return [
        HostSource("c", _c_host),
        HostSource("rust", lambda: [str(_rust("nylon-ring-host")), "drive"]),
        HostSource("crates", lambda: [str(_rust("nylon-ring-crates")), "drive"]),
        HostSource("python", _python_host),
    ]


def our_plugins() -> list[PluginSource]:
    """The plugins of this project; the Python one alone where the native ones have had their run."""
    python = PluginSource("python", ABIS, _python_plugin, built_here=True)
    if os.environ.get(NATIVE) == "0":
        return [python]
    return [
        python,
        PluginSource("c", ABIS, _c_plugin, lacks=NATIVE_LACKS),
        PluginSource("rust", ABIS, _rust_plugin, lacks=NATIVE_LACKS),
    ]


def _existing(path: Path, how: str) -> Path:
    if not path.exists():
        raise Missing(f"{path} is not there: {how}")
    return path


def _c_file(name: str) -> Path:
    """Of the C build: $NRHOST names another one's host."""
    folder = Path(os.environ.get("NRHOST") or ROOT / "build/c/nrhost").parent
    return _existing(folder / name, "make host builds it")


def _c_host() -> Sequence[str]:
    return [str(_c_file("nrhost")), "drive"]


def _c_plugin(abi: str) -> PluginFiles:
    suffix = "_raw" if abi == "v1-raw" else ""
    return _native(_c_file(f"conformance{suffix}.so").parent, "", suffix)


def _rust(name: str) -> Path:
    how = "python3 scripts/rust.py builds it" if shutil.which("cargo") else "its build needs cargo (https://rustup.rs)"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "host-harness/rust/target")
    return _existing(target / "debug" / name, how)


def _rust_plugin(abi: str) -> PluginFiles:
    suffix = "_raw" if abi == "v1-raw" else ""
    return _native(_rust(f"libconformance{suffix}.so").parent, "lib", suffix)


def _native(folder: Path, prefix: str, suffix: str) -> PluginFiles:
    """The files of a native plugin. One that has no layout of its own for an ABI can do without `refuses`, `plain`."""
    main, refuses, plain = (folder / f"{prefix}{file}{suffix}.so" for file in ("conformance", "refuses", "plain"))
    return PluginFiles(main, refuses if refuses.exists() else None, plain if plain.exists() else None)


def _python_host() -> Sequence[str]:
    # -P: without it the sources in the current folder, which have no compiled part, come first.
    python = [sys.executable, "-P"]
    done = subprocess.run([*python, "-c", "import nylon_ring_py.host"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"{sys.executable} has no Python host: {done.stderr.strip().splitlines()[-1]}")
    return [*python, "-m", "nylon_ring_py.host", "drive"]


def _python_plugin(abi: str) -> PluginFiles:
    layout = "v1-raw" if abi == "v1-raw" else "v1"
    folder = ROOT / "build/conformance" / Path(sys.prefix).name / layout
    return PluginFiles(*(build_python(HERE / f"{file}.py", folder, layout) for file in ("plugin", "refuses", "plain")))


def build_python(source: Path, folder: Path, layout: str = "v1") -> Path:
    """Build a Python plugin with the nylon-ring of the Python that runs the suite."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{source.stem}.so"
    command = [sys.executable, "-P", "-m", "nylon_ring_py.cli", "build-plugin", str(source), "-o", str(out)]
    done = subprocess.run([*command, "--abi", layout], capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildFailed(f"{source.name} cannot be built: {' '.join(command)}:\n{done.stderr.strip()}")
    return out


# ---- from the command line ----


def host_from(text: str) -> HostSource:
    """`NAME=COMMAND`, or `COMMAND` whose driver says its name."""
    named = re.fullmatch(r"([\w.-]+)=(.+)", text)
    name, command = (named[1], named[2]) if named else ("", text)
    return HostSource(name, lambda: command)


def plugin_from(text: str) -> PluginSource:
    """`NAME=PATH[,refuses=PATH][,plain=PATH][,abi=v1-raw][,lacks=ENTRY+ENTRY]`.

    Raises:
        ValueError: it is not of this form, a file is missing, or it exports no plugin.
    """
    name, equals, rest = text.partition("=")
    fields = {"main": rest.partition(",")[0], **_fields(rest.partition(",")[2])}
    if not equals or not name or not fields["main"] or fields.keys() - {*FILES, "abi", "lacks"}:
        raise ValueError(
            f"--plugin {text}: write NAME=PATH[,refuses=PATH][,plain=PATH][,abi=v1|v1-raw|v2][,lacks=ENTRY+…]"
        )
    paths = {key: Path(path).absolute() for key, path in fields.items() if key in FILES}
    for path in paths.values():
        if not path.is_file():
            raise ValueError(f"--plugin {text}: {path} is no file")
    abis = fields["abi"].split("+") if "abi" in fields else exported_abis(paths["main"])
    if not abis or set(abis) - set(ABIS):
        raise ValueError(f"--plugin {text}: {abis or 'no ABI'} in {paths['main']}; known are {', '.join(ABIS)}")
    lacks = fields["lacks"].split("+") if "lacks" in fields else []
    return PluginSource(name, abis, lambda abi: PluginFiles(**paths), lacks=lacks)


def _fields(text: str) -> Mapping[str, str]:
    return {key: value for key, _, value in (field.partition("=") for field in text.split(",") if field)}


def exported_abis(path: Path) -> list[str]:
    """The ABIs of a plugin by the names in its file; v1 in five functions, since nothing tells of a sixth."""
    image = path.read_bytes()
    names = {"v1": b"\0nylon_ring_get_plugin_v1\0", "v2": b"\0nylon_ring_get_plugin\0"}
    return [abi for abi, name in names.items() if name in image]
