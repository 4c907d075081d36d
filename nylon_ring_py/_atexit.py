"""What `import atexit` gives inside a plugin. Loaded when a plugin first asks for it."""

from __future__ import annotations

from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["ExitCallbacks"]


class ExitCallbacks(ModuleType):
    """Stands for the module `atexit`: its callbacks run when the plugin shuts down, not the process."""

    def __init__(self) -> None:
        super().__init__("atexit", "Callbacks for the end of this plugin.")
        self._callbacks: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []

    def register(self, func: Callable[..., object], /, *args: Any, **kwargs: Any) -> Callable[..., object]:
        """Has `func(*args, **kwargs)` called when the plugin shuts down; returns `func`.

        Raises:
            TypeError: `func` cannot be called.
        """
        if not callable(func):
            raise TypeError("the first argument must be callable")
        self._callbacks.append((func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., object], /) -> None:
        """Forgets every registration of `func`."""
        self._callbacks[:] = [entry for entry in self._callbacks if entry[0] != func]

    def run(self) -> list[BaseException]:
        """Runs and forgets all callbacks, those that callbacks add too; returns the exceptions."""
        failures: list[BaseException] = []
        while self._callbacks:
            func, args, kwargs = self._callbacks.pop()
            try:
                func(*args, **kwargs)
            except BaseException as error:
                failures.append(error)
        return failures
