"""A built plugin finds its configuration beside itself and in its host's environment; a wrong one fails init."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import Abi, Status

SOURCE = """
from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nylon_ring_py import Plugin


@dataclass
class Pool:
    size: int = 4


@dataclass
class Config:
    dsn: str
    debug: bool = False
    folder: Path = Path("/var")
    tags: list[str] = field(default_factory=list)
    pool: Pool = field(default_factory=Pool)


plugin = Plugin("or-ders", config=Config)
seen = []


@plugin.lifespan
def life():
    seen.append(plugin.config.dsn)
    yield


@plugin.on_init
def init():
    print("on_init ran")


@plugin.handle_sync("show")
def show(req):
    return json.dumps({**asdict(plugin.config), "seen": seen}, default=str)
"""


@pytest.fixture(scope="module")
def plugin(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "orders")


@pytest.fixture
def beside(plugin: Path, tmp_path: Path) -> Path:
    """The plugin in this test's folder, so that each has its own file beside it."""
    copy = tmp_path / "orders.so"
    copy.write_bytes(plugin.read_bytes())
    return copy


def _shown(host: Any) -> dict[str, Any]:
    shown = json.loads(host.call("show").reply.text)
    assert isinstance(shown, dict)
    return shown


@pytest.mark.parametrize("abi", ["v1", "v2"])
def test_file_and_environment_reach_the_plugin(start_host: StartHost, beside: Path, abi: Abi) -> None:
    beside.with_suffix(".toml").write_text('dsn = "file"\ntags = ["a"]\ndebug = true\n[pool]\nsize = 7\n')
    host = start_host(env={"OR_DERS_DSN": "environment", "OR_DERS_FOLDER": "/srv", "OR_DERS_POL__SIZE": "1"})
    assert host.load(beside, abi=abi) == Status.OK
    assert _shown(host) == {
        "dsn": "environment",
        "debug": True,
        "folder": "/srv",
        "tags": ["a"],
        "pool": {"size": 7},
        "seen": ["environment"],
    }
    assert host.stderr().count(b"these environment variables belong to no field") == 1
    assert b"OR_DERS_POL__SIZE (known: " in host.stderr()


def test_every_load_reads_the_file_anew(start_host: StartHost, beside: Path) -> None:
    host = start_host()
    for dsn in ("one", "two"):
        beside.with_suffix(".toml").write_text(f"dsn = '{dsn}'")
        assert host.load(beside) == Status.OK
        assert _shown(host)["dsn"] == dsn
        host.unload()


def test_another_file_is_named_by_the_environment(start_host: StartHost, beside: Path, tmp_path: Path) -> None:
    beside.with_suffix(".toml").write_text("dsn = 'beside'")
    other = tmp_path / "other.toml"
    other.write_text("dsn = 'other'")
    host = start_host(env={"NYLON_RING_CONFIG_OR_DERS": str(other)})
    assert host.load(beside) == Status.OK
    assert _shown(host)["dsn"] == "other"


@pytest.mark.parametrize(
    ("content", "environ", "reason"),
    [
        ("dsn = 1", {}, "orders.toml: dsn = 1: expected a text"),
        ("dns = 'd'", {}, "orders.toml: the key 'dns' is not known; did you mean 'dsn'?"),
        ("", {}, "orders.toml under dsn, or in the environment as OR_DERS_DSN"),
        ("dsn = 'd'", {"OR_DERS_POOL__SIZE": "x"}, "OR_DERS_POOL__SIZE='x': expected a whole number"),
        ("dsn = 'd'", {"NYLON_RING_CONFIG_OR_DERS": "/none.toml"}, "names the file '/none.toml', which is not there"),
    ],
)
def test_a_wrong_one_fails_init_with_its_source(
    start_host: StartHost, beside: Path, content: str, environ: dict[str, str], reason: str
) -> None:
    beside.with_suffix(".toml").write_text(content)
    host = start_host(env=environ)
    assert host.load(beside) == Status.ERR
    assert b"ConfigError: " in host.stderr()
    assert reason in host.stderr().decode()
    assert b"on_init ran" not in host.stderr()


def test_the_build_reads_none(build: BuildPlugin) -> None:
    build(SOURCE)  # though dsn has no value
