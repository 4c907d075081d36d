"""The one exception of the builder."""

from __future__ import annotations

from nylon_ring_py.errors import NylonRingError

__all__ = ["BuildError"]


class BuildError(NylonRingError):
    """A plugin file could not be built or read; the message says what happened and what to do."""
