"""Every section, in the order they are measured and shown."""

from __future__ import annotations

from benchmarks.cases.c_host import beside_python, streams, synchronous, tail
from benchmarks.cases.loops import loops
from benchmarks.cases.pooled import pooled
from benchmarks.cases.rust_hosts import rust_v1, rust_v2
from benchmarks.cases.starting import starting
from benchmarks.cases.sweeps import sweeps
from benchmarks.model import Section
from benchmarks.tools import Tools


def every_section(tools: Tools) -> list[Section]:
    """What can be measured with what was built."""
    rust = [rust_v1(tools), rust_v2(tools)] if tools.rust is not None else []
    return [
        synchronous(tools),
        pooled(tools),
        streams(tools),
        tail(tools),
        beside_python(tools),
        *rust,
        loops(tools),
        *sweeps(tools),
        starting(tools),
    ]
