"""Make a virtual environment with the development tools and the package as the sources are now.

    environment.py DIR [--python EXE] [--sanitize address,undefined]

Does nothing where the environment is up to date. Needs only a Python 3.11+ with headers and a shared libpython, and a
C compiler.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements/dev.txt"
VERSIONS = ("3.11", "3.12", "3.13")
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "shim", "nylon_ring_py")

# Runs in the Python to check; prints what is missing, a line each.
CHECK = """
import os, sys, sysconfig
if sys.version_info < (3, 11):
    print("it is Python %d.%d; Python 3.11 or later is needed" % sys.version_info[:2])
elif not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("it has no headers (no Python.h in %s); Debian: apt-get install python3-dev" % sysconfig.get_path("include"))
else:
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folders = [sysconfig.get_config_var("LIBDIR") or "", os.path.join(sys.base_prefix, "lib")]
    if ".so" not in name or not any(os.path.exists(os.path.join(folder, name)) for folder in folders):
        print("it has no shared libpython (looked for %s in %s); Debian: apt-get install libpython%d.%d; pyenv: "
              "PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install" % ((name, folders) + sys.version_info[:2]))
"""


def find(version: str) -> str | None:
    """The Python of a minor version: on PATH, or pyenv's. Its own path, not that of a shim."""
    candidates = [shutil.which(f"python{version}"), shutil.which("python3")]
    if shutil.which("pyenv"):
        prefix = subprocess.run(["pyenv", "prefix", version], capture_output=True, text=True).stdout.strip()
        candidates.insert(0, f"{prefix}/bin/python3" if prefix else None)
    for candidate in candidates:
        code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
        if candidate is None or not Path(candidate).exists():
            continue
        said = subprocess.run([candidate, "-I", "-c", code], capture_output=True, text=True).stdout.split(maxsplit=1)
        if said and said[0] == version and not said[1].startswith("/usr/bin/"):
            return said[1].strip()
    return None


def check(python: str) -> None:
    """Exit with a clear word unless the package can be built and run with this Python."""
    try:
        said = subprocess.run([python, "-I", "-c", CHECK], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{python} does not run: {error}")
    if said:
        sys.exit(f"{python} cannot be used: {said}")
    if shutil.which(os.environ.get("CC", "cc")) is None:
        sys.exit("no C compiler (cc); Debian: apt-get install gcc libc6-dev make")


def fingerprint(*details: str) -> str:
    """A digest of everything an installed package depends on."""
    digest = hashlib.sha256("\0".join(details).encode())
    for source in (*SOURCES, str(LOCK.relative_to(ROOT))):
        top = ROOT / source
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and path.suffix in {".py", ".pyi", ".c", ".h", ".toml", ".txt", ".typed"}:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run(command: list[str | Path], **options: str) -> None:
    """Run a command quietly; on failure show what it printed, and exit."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **options})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


def install_package(python: Path, sanitize: str, strict: bool) -> None:
    """Build from a copy of the sources, so that nothing stale comes along and nothing is left in the tree."""
    with tempfile.TemporaryDirectory() as folder:
        for source in SOURCES:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / source, Path(folder, source), ignore=ignored)
            else:
                shutil.copy(ROOT / source, Path(folder, source))
        pip: list[str | Path] = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        flags = ["--no-build-isolation", "--no-deps", "--force-reinstall", folder]
        run([*pip, *flags], NRPY_WERROR="1" if strict else "", NRPY_SANITIZE=sanitize)


def make(folder: Path, python: str, sanitize: str = "", strict: bool = False) -> None:
    """Bring the environment in `folder` up to date; `strict` takes a compiler's warning for an error."""
    stamp = folder / "nylon-ring.stamp"
    wanted = fingerprint(str(Path(python).resolve()), sanitize)
    tools = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    state = stamp.read_text().split() if stamp.exists() else ["", ""]
    if state == [wanted, tools]:
        return
    check(python)
    inner = folder / "bin/python"
    if state[1] != tools:
        print(f"making {folder} with {python}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        run([python, "-m", "venv", folder])
        flags = ["-q", "--disable-pip-version-check", "--require-hashes", "--no-compile"]
        run([inner, "-m", "pip", "install", *flags, "-r", LOCK])  # most modules are never used
    print(f"building the package into {folder}", file=sys.stderr, flush=True)
    stamp.unlink(missing_ok=True)
    install_package(inner, sanitize, strict)
    stamp.write_text(f"{wanted} {tools}\n")


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--sanitize", default="")
    arguments = parser.parse_args()
    make(arguments.folder.absolute(), arguments.python, arguments.sanitize)


if __name__ == "__main__":
    main()
