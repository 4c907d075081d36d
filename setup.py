"""How the two compiled parts are built: the core, an extension module, and the stub, a plain shared library.

NRPY_WERROR=1 makes warnings errors; NRPY_SANITIZE=address,undefined (or thread) instruments both parts, and
NRPY_SANITIZE=memcheck builds them for valgrind's. With CC=clang NRPY_SANITIZE=fuzzer-no-link,address,undefined does so
for libFuzzer.
"""

from __future__ import annotations

import os
import platform
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
COMMON = ["-std=c11", "-O2", "-g", "-fvisibility=hidden", "-fno-strict-aliasing", *WARNINGS]
# The stub carries exactly one note, the one that build-plugin turns into the payload's segment.
IS_CLANG = "clang" in os.environ.get("CC", "")
X86_NOTE = [] if IS_CLANG else ["-Wa,-mx86-used-note=no"]  # clang's own assembler writes none
STUB_COMPILE = ["-fcf-protection=none", *X86_NOTE] if platform.machine() == "x86_64" else []
LTO = [] if IS_CLANG else ["-flto=auto"]  # clang's would need a linker of its own
STUB_DEBUG = ["-g1"]  # functions and lines: every plugin carries them
# Without the compiler's start files nothing of it runs when a host loads it.
STUB_LINK = ["-nostartfiles", "-Wl,--build-id=none", "-Wl,-z,relro,-z,now", "-Wl,-z,noseparate-code"]
STUB_NAME = "nylon_ring_py._shim.plugin_shim"


def options() -> list[str]:
    """Flags that the environment asks for, for compiler and linker alike."""
    flags = []
    sanitize = os.environ.get("NRPY_SANITIZE", "")
    if sanitize == "memcheck":
        flags += ["-DNRPY_MEMCHECK", "-O1"]
    elif sanitize:
        flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-O1"]
    return flags


class Build(build_ext):
    """Builds the stub beside the extension: no Python in its name, and none in its symbols."""

    def get_ext_filename(self, fullname: str) -> str:
        package, _, name = fullname.rpartition(".")
        if name == "plugin_shim":
            return str(Path(*package.split("."), f"linux-{platform.machine()}", "plugin_shim.so"))
        return super().get_ext_filename(fullname)

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return [] if ext.name == STUB_NAME else super().get_export_symbols(ext)

    def build_extensions(self) -> None:
        # A Python's own build flags may name folders of the machine it was built on; neither part links anything there.
        linker = self.compiler.linker_so
        self.compiler.linker_so = [word for word in linker if not word.startswith(("-L", "-Wl,-rpath"))]
        super().build_extensions()


werror = ["-Werror"] if os.environ.get("NRPY_WERROR") else []
headers = [str(path) for path in sorted(Path("shim").rglob("*.h"))]

core = Extension(
    "nylon_ring_py._core",
    sources=[str(path) for path in sorted(Path("shim/core").glob("*.c"))],
    depends=headers,
    include_dirs=["shim", "shim/core"],
    extra_compile_args=[
        *COMMON,
        "-D_GNU_SOURCE",
        *LTO,
        f"-isystem{sysconfig.get_path('include')}",
        *werror,
        *options(),
    ],
    extra_link_args=[*LTO, *options()],
)
stub = Extension(
    STUB_NAME,
    sources=[str(path) for path in sorted([*Path("shim").glob("*.c"), *Path("shim/abi").glob("*.c")])],
    depends=headers,
    include_dirs=["shim"],
    extra_compile_args=[*COMMON, *STUB_DEBUG, *STUB_COMPILE, *werror, *options()],
    extra_link_args=[*STUB_LINK, *options()],
)

setup(ext_modules=[core, stub], cmdclass={"build_ext": Build})
