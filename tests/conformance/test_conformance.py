"""The cells of the conformance table as tests: our hosts with our plugins.

The cells of one host and plugin share a driver process, so they run one after the other. Cells that do not apply are
no tests; the table of `make conformance` says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from conformance.case import Case
from conformance.cases import CASES
from conformance.catalogue import FILES, HostSource, Missing, PluginSource, our_hosts, our_plugins
from conformance.column import Column, Host, columns
from conformance.driver import DriverError

RELOADS = 20
QUICK_HOST = "c"  # it has every door of every ABI; the others are long ones
HOSTS = our_hosts()
PLUGINS = our_plugins()


@cache
def _meet(source: HostSource) -> Host | Exception:
    try:
        return Host.meet(source)
    except (Missing, DriverError) as error:
        return error


def _is_there(source: PluginSource) -> bool:
    try:
        return source.built_here or all(source.files(abi) for abi in source.abis)
    except Missing:
        return False


def _cells() -> Iterator[Any]:
    """Every cell that applies, column by column. What is missing is left to `test_host_is_there` and its like."""
    hosts = [host for host in map(_meet, HOSTS) if isinstance(host, Host)]
    for column in columns(hosts, list(filter(_is_there, PLUGINS)), RELOADS):
        name = f"{column.plugin.name}-{column.name}"
        marks = [] if column.host.name == QUICK_HOST else [pytest.mark.long]
        files = FILES if column.plugin.built_here else column.files.names
        for case in CASES:
            if case.excuse(column.host.hello, column.abi, files, column.plugin.lacks) is None:
                yield pytest.param(column, case, id=f"{name}-{case.theme}-{case.name.replace(' ', '_')}", marks=marks)
        yield pytest.param(column, None, id=f"{name}-driver_ends_well", marks=marks)


@pytest.fixture(scope="module")
def left() -> Iterator[list[Column]]:
    """The columns that have a driver; none of them survives the module, even when tests were left out."""
    started: list[Column] = []
    yield started
    for column in started:
        column.kill()


@pytest.mark.parametrize(("column", "case"), list(_cells()))
def test_cell(column: Column, case: Case | None, left: list[Column]) -> None:
    left.append(column)
    if case is None:
        column.finish()
    else:
        column.run(case)


@pytest.mark.parametrize("source", HOSTS, ids=lambda source: source.name)
def test_host_is_there(source: HostSource) -> None:
    met = _meet(source)
    if isinstance(met, Missing):
        _absent(met)
    elif isinstance(met, Exception):
        raise met


@pytest.mark.parametrize("source", PLUGINS, ids=lambda source: source.name)
def test_plugin_is_there(source: PluginSource) -> None:
    try:
        for abi in source.abis:
            assert source.files(abi).main.is_file()
    except Missing as error:
        _absent(error)


def _absent(error: Missing) -> None:
    """What is not built is left out on a user's machine, and a failure in CI."""
    if os.environ.get("CI") == "true":
        raise error
    pytest.skip(str(error))
