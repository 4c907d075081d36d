"""`subprocess` in a host: what it starts does not inherit the signals that our threads block."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location

from nylon_ring_py._core import fork_exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _Loader(SourceFileLoader):
    """Loads subprocess as ever, then has it start programs by way of the core."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if hasattr(module, "_fork_exec"):
            vars(module).update(_fork_exec=fork_exec, _USE_POSIX_SPAWN=False)  # the latter knows no mask


def find_subprocess(asked: object) -> ModuleSpec | None:
    """The spec of subprocess for a finder that is asked for it; None where it is no plain file."""
    for finder in sys.meta_path:
        spec = finder.find_spec("subprocess", None) if finder is not asked else None
        if spec is not None:
            if type(spec.loader) is not SourceFileLoader or spec.origin is None:
                return None
            return spec_from_file_location("subprocess", spec.origin, loader=_Loader("subprocess", spec.origin))
    return None
