"""The conformance suite: every case on every pair of a host and a plugin, then the table. Exit code 0 or 1.

    python tests/conformance/run.py [--host NAME='COMMAND'] [--plugin NAME=PATH[,refuses=PATH][,plain=PATH][,abi=ABI]]
                                    [--case PATTERN] [--reloads N] [--json FILE]

Without --host, our hosts; without --plugin, our plugins. What they are is in docs/conformance.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from conformance.case import Case
from conformance.cases import CASES
from conformance.catalogue import (
    BuildFailed,
    HostSource,
    Missing,
    PluginSource,
    host_from,
    our_hosts,
    our_plugins,
    plugin_from,
)
from conformance.column import Column, Host, columns
from conformance.driver import DriverError
from conformance.table import Cell, render

END_CASE = ("loading", "driver ends well", "After all cases the driver ends with exit code 0 and a clean stderr.")


def run_column(column: Column, cases: Sequence[Case]) -> Iterator[Cell]:
    """Run the cases of a column, and end its driver."""
    try:
        for case in cases:
            row = (column.plugin.name, column.name, case.theme, case.name, case.promise)
            excuse = case.excuse(column.host.hello, column.abi, column.files.names, column.plugin.lacks)
            if excuse is not None:
                yield Cell(*row, "excused", excuse)
                continue
            try:
                column.run(case)
            except Exception as error:
                yield Cell(*row, "FAIL", describe(error))
            else:
                yield Cell(*row, "ok")
        row = (column.plugin.name, column.name, *END_CASE)
        try:
            column.finish()
        except DriverError as error:
            yield Cell(*row, "FAIL", describe(error))
        else:
            yield Cell(*row, "ok")
    finally:
        column.kill()


def describe(error: BaseException) -> str:
    """What went wrong, and where it is not a broken promise but a surprise, of which kind."""
    expected = type(error).__module__.startswith("conformance.")
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    return "\n".join([text, *getattr(error, "__notes__", [])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 when nothing failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", action="append", default=[], type=host_from, metavar="NAME='COMMAND'")
    parser.add_argument("--plugin", action="append", default=[], metavar="NAME=PATH[,KEY=PATH]")
    parser.add_argument("--case", default="*", metavar="PATTERN", help="theme/name, with * and ?; or a part of it")
    parser.add_argument("--reloads", type=int, default=20, metavar="N", help="of the case `reloaded`; 20 without")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every cell, for other programs")
    options = parser.parse_args(arguments)
    try:
        plugins = [plugin_from(text) for text in options.plugin]
    except ValueError as error:
        parser.error(str(error))
    cases = [case for case in CASES if _matches(case, options.case)]
    if not cases:
        parser.error(f"--case {options.case}: no case has such a name")

    complaints: list[str] = []
    hosts = _meet(options.host or our_hosts(), complaints, named=bool(options.host))
    cells: list[Cell] = []
    offered = _offered(plugins or our_plugins(), complaints, named=bool(plugins))
    for column in columns(hosts, list(offered), options.reloads):
        results = list(run_column(column, cases))
        cells += results
        failed = sum(cell.result == "FAIL" for cell in results)
        print(f"{column.plugin.name} in {column.name}: {failed or 'none'} failed", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(cell) for cell in cells], indent=1) + "\n")
    print(render(cells))
    failed = any(cell.result == "FAIL" for cell in cells)
    return 1 if failed or complaints or not cells else 0


def _matches(case: Case, wanted: str) -> bool:
    name = f"{case.theme}/{case.name}"
    return fnmatch.fnmatch(name, wanted) or wanted in name


def _meet(sources: Sequence[HostSource], complaints: list[str], *, named: bool) -> list[Host]:
    hosts = []
    for source in sources:
        try:
            hosts.append(Host.meet(source))
        except (Missing, DriverError) as error:
            _leave_out(f"host {source.name or 'without a name'}", error, complaints, named)
    return hosts


def _offered(sources: Sequence[PluginSource], complaints: list[str], *, named: bool) -> Iterator[PluginSource]:
    for source in sources:
        try:
            for abi in source.abis:
                source.files(abi)
        except (Missing, BuildFailed) as error:
            _leave_out(f"plugin {source.name}", error, complaints, named)
        else:
            yield source


def _leave_out(what: str, error: Exception, complaints: list[str], named: bool) -> None:
    """Say what is missing. It is a failure in CI, where it was asked for, and where it is there and broken."""
    print(f"left out: {what}: {describe(error)}", file=sys.stderr, flush=True)
    if named or os.environ.get("CI") == "true" or not isinstance(error, Missing):
        complaints.append(what)


if __name__ == "__main__":
    sys.exit(main())
