"""The lanes of the soak test: who calls which entry, how, and what may come back."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: The plugins that are loaded side by side: the name, the plugin file, and the ABI the host speaks.
PLUGINS = {"one": "v1", "raw": "v1-raw", "two": "v2"}
POOLS = "pools"


@dataclass(frozen=True)
class Lane:
    """Callers of one entry; the fields are those of the verb `lane` (host-harness/c/lane.c)."""

    entry: str
    kind: str = "unary"
    door: str = "handle"
    threads: int = 1
    window: int = 1
    batch: int = 16
    life: int = 0
    rate: float = 0
    body_size: int = 64
    pieces: int = 8
    take: int = 0
    pause_us: int = 0
    metadata: bool = False
    json: bool = False
    may_fail: bool = False
    may_refuse: bool = False
    bad: bool = False
    timeout: float = 30  # seconds after which a reply counts as lost
    only: str = ""  # the ABI without which there is no such door
    plugin: str = "one"

    @property
    def name(self) -> str:
        """What it is called in samples: plugin, entry and the way in."""
        way = "hostile" if self.bad else self.door if self.kind == "unary" else self.kind
        how = "_slow" if self.pause_us else "_brief" if self.life else "_many" if self.window > 1 else ""
        return f"{self.plugin}.{self.entry}.{way}{how}"


#: Loops in C that make most of the calls: more than half a million a second.
HOT = (
    Lane("raw_sync", door="fast", batch=256, body_size=16),
    Lane("sync", door="fast", batch=256, body_size=16, metadata=True),
    Lane("raw_sync", door="fast_id", batch=256, body_size=16, only="v2"),
    Lane("pooled", window=64, batch=1024, body_size=16, metadata=True),
    Lane("pooled", door="id", window=64, batch=1024, body_size=16, only="v2"),
    Lane("raw", door="raw", window=64, batch=1024, body_size=16),
)

#: Everything that answers once.
UNARY = (
    Lane("sync", metadata=True),
    Lane("raw_sync", door="raw"),
    Lane("pooled", metadata=True),
    Lane("pooled", kind="fire", rate=2000),
    Lane("raw", door="raw", body_size=3000),
    Lane("raw", body_size=65536, rate=500),  # lent to a v2 host
    Lane("coroutine"),
    Lane("executor"),
    Lane("typed", json=True),
    Lane("state"),
    Lane("later", may_fail=True),
)

STREAMS = (
    Lane("generator", kind="stream", body_size=160),
    Lane("async_generator", kind="stream", body_size=160),
    Lane("hooks", kind="duplex", body_size=256),
    Lane("duplex", kind="duplex", body_size=256),
    Lane("async_duplex", kind="duplex", body_size=256),
)

#: What the host or the author does wrong, and callers nobody would wish for.
UNKIND = (
    Lane("failing", may_fail=True, rate=500),
    Lane("breaking", kind="stream", may_fail=True, rate=500),
    Lane("deadline", may_fail=True, threads=2),
    Lane("deadline_coroutine", may_fail=True, threads=4),
    Lane("limited", may_refuse=True, threads=4, rate=2000),
    Lane("endless", kind="stream", take=20, batch=4),
    Lane("async_endless", kind="stream", take=20, batch=4),
    Lane("generator", kind="stream", body_size=1600, pause_us=300, batch=1),
    Lane("async_generator", kind="stream", body_size=1600, pause_us=300, batch=1),
    Lane("async_duplex", kind="duplex", body_size=2500, pieces=250, pause_us=100, batch=1),
    Lane("sync", bad=True, rate=2000),
    Lane("raw_sync", door="fast", life=50, rate=2000),  # host threads that come and go
    Lane("pooled", life=10, rate=500),
)

PROCESSES = Lane("process", may_fail=True, threads=2, plugin=POOLS)


def on_every_plugin(lanes: tuple[Lane, ...]) -> list[Lane]:
    """The lanes for each plugin, where its ABI has their doors."""
    return [replace(lane, plugin=plugin) for lane in lanes for plugin, abi in PLUGINS.items() if lane.only in ("", abi)]
