"""A column of the table: one host with one plugin in one ABI, and the driver process that its cases share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conformance.case import Case
from conformance.catalogue import HostSource, PluginSource
from conformance.driver import Driver, DriverError, Hello
from conformance.pair import Pair, PluginFiles

#: Drivers a column may use up before the rest of it is given up.
MAX_DRIVERS = 8


@dataclass(frozen=True)
class Host:
    """A host that has answered hello."""

    name: str
    command: Sequence[str] | str
    hello: Hello

    @staticmethod
    def meet(source: HostSource) -> Host:
        """Start the driver, ask it what it is, and let it go. Raises Missing or DriverError."""
        command = source.command()
        with Driver(command) as driver:
            hello = driver.hello()
            driver.quit()
        return Host(source.name or hello.host, command, hello)


@dataclass
class Column:
    """The cases of one host, plugin and ABI, one after the other.

    The driver is started with the first case, killed after a failure (nothing that went wrong reaches the next case),
    and ended by `finish`.
    """

    host: Host
    plugin: PluginSource
    abi: str
    reloads: int = 20
    _files: PluginFiles | None = None
    _driver: Driver | None = None
    _started: int = 0

    @property
    def name(self) -> str:
        """Of host and ABI."""
        return f"{self.host.name}-{self.abi}"

    @property
    def files(self) -> PluginFiles:
        """The plugin's files; the first use builds them, which may raise Missing."""
        if self._files is None:
            self._files = self.plugin.files(self.abi)
        return self._files

    def run(self, case: Case) -> None:
        """Run a case; raises what went wrong."""
        if self._driver is None:
            if self._started == MAX_DRIVERS:
                raise DriverError(f"not run: {MAX_DRIVERS} drivers of this column have been lost to failures")
            self._started += 1
            self._driver = Driver(self.host.command)
        try:
            case.check(Pair(self._driver, self.host.hello, self.abi, self.files, self.reloads))
        except BaseException:
            self.kill()
            raise

    def finish(self) -> None:
        """End the driver; DriverError unless it ends well."""
        if self._driver is None:
            return
        try:
            self._driver.quit()
        finally:
            self.kill()

    def kill(self) -> None:
        """End the driver, whatever its state."""
        if self._driver is not None:
            self._driver.kill()
            self._driver = None


def columns(hosts: Sequence[Host], plugins: Sequence[PluginSource], reloads: int) -> Iterator[Column]:
    """Each plugin with each host, in each ABI that both have."""
    for plugin in plugins:
        for host in hosts:
            for abi in host.hello.abis:
                if abi in plugin.abis:
                    yield Column(host, plugin, abi, reloads)
