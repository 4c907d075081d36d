"""What a case is: a promise, what it needs, and a function that fails when the promise is broken."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from conformance.driver import DriverError, Hello
from conformance.pair import Pair

ABIS = ("v1", "v1-raw", "v2")

Run = Callable[[Pair], None]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: of the function, with spaces.
        theme: of the module.
        promise: the first paragraph of the docstring.
        needs: capabilities without which the case does not apply.
        abis: those it applies to; `elsewhere` says why not to the others.
        files: the plugin files it needs beside the main one.
        entries: those of the main file that a plugin may lack.
        load: whether the main file is loaded under `main` before it runs.
    """

    name: str
    theme: str
    promise: str
    run: Run
    needs: Sequence[str]
    abis: Collection[str]
    elsewhere: str
    files: Sequence[str]
    entries: Sequence[str]
    load: bool

    def excuse(self, hello: Hello, abi: str, files: Collection[str], lacks: Collection[str] = ()) -> str | None:
        """Why the case does not apply to a host, an ABI and a plugin with those files; None where it does.

        `lacks` are the entries the plugin says it does not have.
        """
        if abi not in self.abis:
            return self.elsewhere
        for need in self.needs:
            if need in hello.cannot:
                return f"{need}: {hello.cannot[need]}"
        for file in self.files:
            if file not in files:
                return f"no plugin file `{file}` was given"
        for entry in self.entries:
            if entry in lacks:
                return f"the plugin has no entry `{entry}`"
        return None

    def check(self, pair: Pair) -> None:
        """Run on a pair, from no plugin loaded to none; raises what went wrong."""
        try:
            if self.load:
                pair.load()
            self.run(pair)
        except DriverError:
            raise
        except Exception as error:
            try:
                pair.unload_all()
            except Exception as further:
                error.add_note(f"then, at the clean-up: {further}")
            raise
        pair.unload_all()


CASES: list[Case] = []


def case(
    *,
    needs: Sequence[str] = (),
    abis: Collection[str] = ABIS,
    elsewhere: str = "",
    files: Sequence[str] = (),
    entries: Sequence[str] = (),
    load: bool = True,
) -> Callable[[Run], Run]:
    """Make a function a case of the suite; see `Case`."""
    assert elsewhere or set(abis) == set(ABIS), "say why the case does not apply to the other ABIs"

    def register(function: Run) -> Run:
        promise = inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        assert promise, f"{function.__name__} states no promise"
        theme = function.__module__.rpartition(".")[2]
        name = function.__name__.replace("_", " ")
        CASES.append(Case(name, theme, promise, function, needs, abis, elsewhere, files, entries, load))
        return function

    return register
