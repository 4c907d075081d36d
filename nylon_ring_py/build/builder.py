"""Builds a plugin file: collect the sources, import them in the target Python, write them into the stub."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nylon_ring_py.build.collect import Collection, collect
from nylon_ring_py.build.elf import add_payload
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import FORMAT, encode_payload, pack_archive, unpack_archive
from nylon_ring_py.build.sign import read_private_key, sign_image

__all__ = ["ABIS", "BuildResult", "build_plugin", "find_stub", "write_plugin"]

ABIS = ("v1", "v1-raw")

_STEERING = ("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")  # an isolated Python obeys these as well


@dataclass(frozen=True)
class BuildResult:
    """What was built.

    Attributes:
        path: the plugin file.
        size: its bytes.
        manifest: what it says about itself.
        warnings: one line each, for the author.
    """

    path: Path
    size: int
    manifest: dict[str, Any]
    warnings: list[str]


def build_plugin(
    source: Path,
    *,
    object_name: str = "",
    out: Path | None = None,
    abi: str = "v1",
    python: str = "",
    sign: Path | None = None,
) -> BuildResult:
    """Builds a plugin file from a Python file or package.

    Args:
        source: a `.py` file, or a package's folder.
        object_name: attribute of the main module that is the Plugin; empty to search for the only one.
        out: the file to write; by default the source's name with `.so`, in the current folder.
        abi: "v1" or "v1-raw", the layout of the plugin's functions.
        python: executable that will run the plugin; by default the running one.
        sign: a PEM file with the Ed25519 private key to sign the file with; by default nobody signs it.

    Raises:
        BuildError: the plugin cannot be built; nothing was written.
        SignatureError: it cannot be signed; nothing was written.
        OSError: a file cannot be read or written; nothing was written.
    """
    if abi not in ABIS:
        raise BuildError(f"unknown ABI {abi!r}: it is one of {', '.join(ABIS)}")
    stub = find_stub()
    key = read_private_key(sign) if sign is not None else None
    collection = collect(source)
    target = out if out is not None else Path(f"{collection.main}.so")
    found, archive = _ask_target(collection, object_name, _executable(python))
    interpreter: dict[str, str] = found["interpreter"]
    _check_interpreter(interpreter)
    boot = {
        "name": found["name"],
        "version": found["version"],
        "abi": abi,
        "module": collection.main,
        "object": found["object"],
        **interpreter,
    }
    manifest = {
        "format": FORMAT,
        "plugin": {"name": found["name"], "version": found["version"]},
        "module": collection.main,
        "object": found["object"],
        "abi": abi,
        "python": interpreter,
        "entries": found["entries"],
        "files": _digests(archive),
        "nylon_ring_py": found["nylon_ring_py"],
    }
    image = _image(stub, encode_payload(boot, manifest, archive))
    if key is not None:
        image = sign_image(image, key)
    write_plugin(target, image)
    return BuildResult(target, len(image), manifest, collection.warnings)


def find_stub() -> bytes:
    """Returns the prebuilt stub for this platform.

    Raises:
        BuildError: this installation has none.
    """
    name = f"{sys.platform}-{platform.machine()}"
    place = importlib.resources.files("nylon_ring_py") / "_shim" / name / "plugin_shim.so"
    if not place.is_file():
        raise BuildError(
            f"there is no prebuilt stub for {name} ({place}): plugins can be built on linux-x86_64, with an "
            "installed nylon-ring-py wheel, or in a source tree after its shim was compiled"
        )
    return place.read_bytes()


def _image(stub: bytes, payload: bytes) -> bytes:
    try:
        return add_payload(stub, payload)
    except BuildError as error:
        raise BuildError(f"the prebuilt stub cannot be used: {error}") from None


def _executable(python: str) -> str:
    executable = python or sys.executable
    if not executable:
        raise BuildError("the running Python does not know its own path: name one with --python")
    return executable


def _ask_target(collection: Collection, object_name: str, executable: str) -> tuple[dict[str, Any], bytes]:
    """Has the target Python compile and import the plugin; returns its answer and the archive with .pyc files."""
    request = {"main": collection.main, "object": object_name, "folder": str(collection.folder)}
    data = json.dumps(request).encode() + b"\n" + pack_archive(collection.files)
    try:
        done = subprocess.run(
            [executable, "-I", "-m", "nylon_ring_py.build.child"],
            input=data,
            capture_output=True,
            check=False,
            env={name: value for name, value in os.environ.items() if name not in _STEERING},
        )
    except OSError as error:
        raise BuildError(f"cannot run {executable}: {error.strerror or error}") from None
    printed = done.stderr.decode("utf-8", "replace")
    line, _, archive = done.stdout.partition(b"\n")
    if done.returncode != 0 or not line:
        raise BuildError(_child_failure(executable, collection.main, done.returncode, printed))
    if printed:
        print(printed, end="", file=sys.stderr)
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise BuildError(answer["error"])
    return answer, archive


def _child_failure(executable: str, module: str, code: int, printed: str) -> str:
    last = printed.rstrip().rpartition("\n")[2]
    if "nylon_ring_py._core" in last:
        return _no_core(executable, last)
    if "No module named" in last and "nylon_ring_py" in last:
        return (
            f"{executable} has no nylon_ring_py: a plugin runs with the packages of its Python; install it there with\n"
            f"    {executable} -m pip install nylon-ring-py"
        )
    ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    return f"{executable} ended with {ending} while it imported {module}\n{printed}".rstrip()


def _no_core(executable: str, reason: str) -> str:
    return (
        f"nylon_ring_py of {executable} has no compiled core for this Python ({reason}): install a wheel for it with\n"
        f"    {executable} -m pip install --force-reinstall nylon-ring-py"
    )


def _check_interpreter(interpreter: dict[str, str]) -> None:
    executable, version = interpreter["python"], interpreter["python_version"]
    if not interpreter["core"]:
        raise BuildError(_no_core(executable, f"Python {version}, no _core beside the package's files"))
    if not interpreter["libpython"]:
        tried = "".join(f"\n    {path}" for path in interpreter.get("libpython_tried", "").split(":"))
        raise BuildError(
            f"{executable} has no shared libpython, which a host needs to run Python; tried:{tried}\n"
            f"On Debian and Ubuntu: apt install libpython{version}. With pyenv: "
            f'PYTHON_CONFIGURE_OPTS="--enable-shared" pyenv install {version}'
        )


def _digests(archive: bytes) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in unpack_archive(archive).items()}


def write_plugin(target: Path, image: bytes) -> None:
    """Replaces `target` in one step; a host that has the old file open keeps it.

    Nobody but the owner can write to the file at any time, whatever the umask; what it takes from the others is kept. A
    link at `target` is replaced, and what it points to stays as it is.

    Raises:
        OSError: the file cannot be written; nothing of it is left.
    """
    temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o755)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink()
        raise
