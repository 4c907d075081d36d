"""Libraries that an author may have installed or not."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def find_library(name: str) -> Any:
    """Import a library.

    Args:
        name: of its top module.

    Returns:
        The module, None where it is not installed.

    Raises:
        ModuleNotFoundError: it is there, but something it needs is not.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return None
