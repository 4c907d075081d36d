"""Python environments that a test can break: copies of the installed package in venvs of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_PYTHON = Path("/usr/bin/python3")


def describe(python: Path | str) -> dict[str, str]:
    """What the stub would learn from this Python; its package must be installed there."""
    command = [str(python), "-I", "-m", "nylon_ring_py._probe"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def installed_package() -> Path:
    """The package's folder as installed for the Python that runs the tests."""
    return Path(describe(sys.executable)["core"]).parent


def installed_stub() -> Path:
    """The stub that build-plugin copies."""
    (stub,) = installed_package().glob("_shim/*/plugin_shim.so")
    return stub


@dataclass(frozen=True)
class Environment:
    """A venv with the package in it."""

    folder: Path
    python: Path
    package: Path

    @property
    def core(self) -> Path:
        """The core's file."""
        (core,) = self.package.glob("_core.*.so")
        return core


def make_environment(folder: Path, base: Path | str = sys.executable, *, package: bool = True) -> Environment:
    """Makes a venv of `base`, and copies the installed package into it (with a core compiled where `base` needs one).

    Args:
        folder: where; it does not exist yet.
        base: the Python it is made of.
        package: False leaves the package out.

    Returns:
        The venv.
    """
    subprocess.run([str(base), "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    environment = Environment(folder, folder / "bin" / "python3", site / "nylon_ring_py")
    if package:
        shutil.copytree(installed_package(), environment.package, ignore=shutil.ignore_patterns("__pycache__"))
        if _soabi(environment.python) != _soabi(sys.executable):
            environment.core.unlink()
            _compile_core(environment)
    return environment


def _ask(python: Path | str, expression: str) -> str:
    code = f"import sys, sysconfig; print({expression})"
    return subprocess.run([str(python), "-I", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _soabi(python: Path | str) -> str:
    return _ask(python, "sysconfig.get_config_var('SOABI')")


def _compile_core(environment: Environment) -> None:
    """Quickly, since speed is not what the tests ask for."""
    include = _ask(environment.python, "sysconfig.get_path('include')")
    suffix = _ask(environment.python, "sysconfig.get_config_var('EXT_SUFFIX')")
    sources = [str(path) for path in sorted((ROOT / "shim/core").glob("*.c"))]
    flags = ["-shared", "-O0", "-D_GNU_SOURCE", "-fvisibility=hidden", f"-I{include}", "-Ishim", "-Ishim/core"]
    compile_c(environment.package / f"_core{suffix}", sources, [*flags, *sanitizer_flags()])


def compile_c(out: Path, sources: Sequence[str | Path], options: Sequence[str]) -> Path:
    """Compiles C in the repository's folder; AssertionError with the compiler's words when it fails."""
    command = ["cc", "-std=c11", "-g", "-fPIC", "-pthread", "-o", str(out), *map(str, sources), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return out


def nrhost() -> Path:
    """The C host's command that this run is made with."""
    return Path(os.environ.get("NRHOST") or ROOT / "build/c/nrhost")


def sanitizer_flags() -> list[str]:
    """What instruments C as this run's host is instrumented: nothing, as a rule."""
    image = nrhost().read_bytes()
    address = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sanitizers = {b"__asan_init": address, b"__tsan_init": ["-fsanitize=thread"]}
    return [flag for symbol, flags in sanitizers.items() if symbol in image for flag in flags]


def compile_host(out: Path, source: str, *options: str, exports: bool = True) -> Path:
    """Compiles a host of tests/hosts with the C host's library.

    With `exports` plugins see the host's symbols, the one for state among them.
    """
    libraries = [nrhost().parent / "libnrcommand.a", nrhost().parent / "libnrhost.a"]
    flags = ["-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Ihost-harness/c", "-Ishim/abi"]
    flags += ["-rdynamic"] if exports else []
    return compile_c(out, [source, *libraries], [*flags, *sanitizer_flags(), *options, "-ldl"])


def python_of_another_minor() -> Path:
    """A Python 3.11 or above, with headers and a shared library, of another minor than the one that runs the tests."""
    versions = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))) / "versions"
    running = f"3.{sys.version_info[1]}"
    for minor in ("3.12", "3.13", "3.11"):
        found = sorted(versions.glob(f"{minor}.*/bin/python3")) or [Path(shutil.which(f"python{minor}") or "/none")]
        if minor != running and found[0].exists():
            header = Path(_ask(found[0], "sysconfig.get_path('include')")) / "Python.h"
            if header.exists() and _ask(found[0], "sysconfig.get_config_var('Py_ENABLE_SHARED')") == "1":
                return found[0]
    return missing("a second Python of another minor version, with a shared libpython and headers")


def missing(what: str) -> Path:
    """A toolchain that is missing skips on a user's machine and fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")
