"""The modules of the standard library that must be told of the host, as they are imported.

What `threading` takes for its main thread is the thread that imports it first (from 3.13 on only its native id), and it
must outlive all others; what `subprocess` starts would inherit the signals that our threads block.
"""

from __future__ import annotations

import sys

from nylon_ring_py._core import call_on_main_thread, fork_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


def find_standard(name: str, asked: object) -> ModuleSpec | None:
    """The spec of a module of `EXECUTED_BY`; None where no other finder has it.

    Args:
        name: the module's.
        asked: the finder on `sys.meta_path` that wants to know, which is not asked again.
    """
    for finder in sys.meta_path:
        find = None if finder is asked else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None if find is None else find(name, None, None)
        if spec is not None:
            if spec.loader is not None:
                spec.loader = _Loader(spec.loader, EXECUTED_BY[name])  # type: ignore[assignment]
            return spec
    return None


class _Loader:
    """Stands in for a module's own loader until the module is executed; for who only looks, it is that one.

    Args:
        loader: the module's own.
        execute: is called with it and the module.
    """

    def __init__(self, loader: Loader, execute: Callable[[Loader, ModuleType], None]) -> None:
        self._loader = loader
        self._execute = execute

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Does as the module's own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Executes the module as the host needs it."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._execute(self._loader, module)


def _execute_threading(loader: Loader, module: ModuleType) -> None:
    """It is executed here, where it may wait for other imports, and then told which thread is the main one."""
    loader.exec_module(module)
    names = vars(module)

    def become_main() -> None:
        names["_active"].pop(names["_main_thread"].ident, None)
        names["_main_thread"] = names["_MainThread"]()

    call_on_main_thread(become_main)


def _execute_subprocess(loader: Loader, module: ModuleType) -> None:
    loader.exec_module(module)
    if hasattr(module, "_fork_exec"):
        vars(module).update(_fork_exec=fork_exec, _USE_POSIX_SPAWN=False)  # the latter knows no mask


EXECUTED_BY = {"threading": _execute_threading, "subprocess": _execute_subprocess}
"""By the module's name."""
