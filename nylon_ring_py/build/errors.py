"""The one exception of the builder."""

from __future__ import annotations

__all__ = ["BuildError"]


class BuildError(Exception):
    """A plugin file could not be built or read; the message says what happened and what to do."""
