"""The files of one run: the hosts, our plugins, and the peers."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import figures_of

BODY = 128  # bytes, where a case says nothing else


@dataclass
class Tools:
    """What `builds.prepare` made.

    Args:
        host: nrhost.
        rust: the folder of the Rust hosts; None without cargo.
        plugins: the file of each contestant, by its name.
        loops: our plugin with an event loop.
        folder: where they are; a case may build more there.
        python: the main Python.
        pythons: the others that ours was built for, by their version: 3.12.
        further: of each contestant, plugins to load after the first, each a file of its own; the case that wants them
            makes them.
        environments: what a contestant's host must have in its environment.
        hops: how far the cores were from each other with each measurement, in nanoseconds.
    """

    host: Path
    rust: Path | None
    plugins: dict[str, Path]
    loops: Path
    folder: Path
    python: str = sys.executable
    pythons: dict[str, str] = field(default_factory=dict)
    further: dict[str, list[Path]] = field(default_factory=dict)
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    hops: list[float] = field(default_factory=list)

    def bench(self, contestant: str, entry: str, kind: str, **options: object) -> dict[str, Any]:
        """One `nrhost bench` of a contestant's plugin.

        Args:
            contestant: whose.
            entry: what is called.
            kind: and how.
            options: `busy_end="x"` is `--busy-end x`, True an option without a value; a list gives one several times.

        Returns:
            the figures it wrote.

        Raises:
            BenchError: it does not run, or a reply or a frame is not as long as the body is.
        """
        return self._bench(self.plugins[contestant], entry, kind, options, self.environments.get(contestant))

    def bench_loops(self, entry: str, kind: str, **options: object) -> dict[str, Any]:
        """The same of our plugin with an event loop."""
        return self._bench(self.loops, entry, kind, options, None)

    def _bench(
        self,
        plugin: Path,
        entry: str,
        kind: str,
        options: Mapping[str, object],
        environment: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        command = [str(self.host), "bench", str(plugin), entry, "--kind", kind, "--json"]
        for name, value in {"body": BODY, "reply": options.get("body", BODY), **options}.items():
            option = f"--{name.replace('_', '-')}"
            for one in value if isinstance(value, list) else [value]:
                command += [option] if one is True else [option, str(one)]
        figures = figures_of(command, environment)
        if "hop_ns" in figures and len(os.sched_getaffinity(0)) > 1:
            self.hops.append(figures["hop_ns"])
        return figures

    def rust_v1(self, contestant: str, entry: str, kind: str, *options: str) -> dict[str, Any]:
        """One `nylon-ring-host bench`, our Rust host for ABI v1: replies and frames of BODY. There are Rust hosts."""
        assert self.rust is not None
        command = [str(self.rust / "nylon-ring-host"), "bench", str(self.plugins[contestant]), entry]
        command += ["--kind", kind, "--reply", str(BODY), "--json", *options]
        return figures_of(command, self.environments.get(contestant))

    def rust_v2(self, contestant: str, entry: str, kind: str, size: int, *options: str) -> dict[str, Any]:
        """One `nylon-ring-crates bench`, the released crate: replies and frames of `size`. There are Rust hosts."""
        assert self.rust is not None
        command = [str(self.rust / "nylon-ring-crates"), "bench", str(self.plugins[contestant]), entry]
        command += ["--kind", kind, "--size", str(size), "--reply", str(size), "--json", *options]
        return figures_of(command, self.environments.get(contestant))
