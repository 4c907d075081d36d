"""Configuration: what every kind of class makes of defaults, a file and the environment, and what wrong values say."""

from __future__ import annotations

import datetime
import decimal
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import msgspec
import pydantic
import pytest

from nylon_ring_py import Plugin
from nylon_ring_py._session import Session
from nylon_ring_py.config import environment_name, read_config
from nylon_ring_py.errors import ConfigError, NotBoundError, NylonRingError


@dataclass
class Pool:
    size: int = 4
    wait_s: float = 1.5


@dataclass
class Database:
    host: str
    port: int = 5432
    pool: Pool = field(default_factory=Pool)


@dataclass
class Plain:
    dsn: str
    limit: int = 10
    ratio: float = 0.5
    debug: bool = False
    folder: Path = Path("/var")
    tags: list[str] = field(default_factory=list)
    note: str | None = None
    database: Database = field(default_factory=lambda: Database("db.local", port=1))


class StructPool(msgspec.Struct):
    size: int = 4
    wait_s: float = 1.5


class StructDatabase(msgspec.Struct):
    host: str
    port: int = 5432
    pool: StructPool = msgspec.field(default_factory=StructPool)


class Structured(msgspec.Struct):
    dsn: str
    limit: int = 10
    ratio: float = 0.5
    debug: bool = False
    folder: Path = Path("/var")
    tags: list[str] = []
    note: str | None = None
    database: StructDatabase = msgspec.field(default_factory=lambda: StructDatabase("db.local", port=1))


class ModelPool(pydantic.BaseModel):
    size: int = 4
    wait_s: float = 1.5


class ModelDatabase(pydantic.BaseModel):
    host: str
    port: int = 5432
    pool: ModelPool = ModelPool()


class Model(pydantic.BaseModel):
    dsn: str
    limit: int = 10
    ratio: float = 0.5
    debug: bool = False
    folder: Path = Path("/var")
    tags: list[str] = []
    note: str | None = None
    database: ModelDatabase = ModelDatabase(host="db.local", port=1)


MAPPING: dict[str, Any] = {
    "dsn": "",
    "limit": 10,
    "ratio": 0.5,
    "debug": False,
    "folder": Path("/var"),
    "tags": [],
    "note": None,
    "database": {"host": "db.local", "port": 1, "pool": {"size": 4, "wait_s": 1.5}},
}

KINDS: dict[str, Any] = {"dataclass": Plain, "msgspec": Structured, "pydantic": Model, "mapping": MAPPING}


class _Files:
    """A folder with a plugin file, and maybe a configuration beside it."""

    def __init__(self, folder: Path) -> None:
        self.origin = folder / "orders.so"
        self.file = folder / "orders.toml"

    def read(self, config: object, text: str | None = None, /, **environ: str) -> Any:
        if text is not None:
            self.file.write_text(text)
        return read_config(config, "orders", str(self.origin), environ)


@pytest.fixture
def files(tmp_path: Path) -> _Files:
    return _Files(tmp_path)


def _get(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config[key] if isinstance(config, dict) else getattr(config, key)
    return config


@pytest.fixture(params=KINDS)
def config(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]


# ---- where values come from


def test_defaults(files: _Files, config: Any) -> None:
    made = files.read(config, ORDERS_DSN="d")
    assert type(made) is (config if isinstance(config, type) else dict)
    assert _get(made, "dsn") == "d"
    assert [_get(made, name) for name in ("limit", "ratio", "debug", "folder", "tags", "note")] == [
        *(10, 0.5, False, Path("/var"), [], None)
    ]
    assert [_get(made, "database", name) for name in ("host", "port")] == ["db.local", 1]
    assert _get(made, "database", "pool", "size") == 4


FILE = """
dsn = "file"
limit = 20
debug = true
ratio = 2
folder = "/srv"
tags = ["a", "b"]
[database.pool]
size = 7
"""


def test_the_file_stands_over_the_defaults(files: _Files, config: Any) -> None:
    made = files.read(config, FILE)
    assert [_get(made, name) for name in ("dsn", "limit", "ratio", "debug", "folder", "tags", "note")] == [
        *("file", 20, 2.0, True, Path("/srv"), ["a", "b"], None)
    ]
    assert type(_get(made, "ratio")) is float
    assert isinstance(_get(made, "folder"), Path)
    # What the table does not have stays as the field's own default has it, and not the class's.
    assert [_get(made, "database", name) for name in ("host", "port")] == ["db.local", 1]
    assert [_get(made, "database", "pool", name) for name in ("size", "wait_s")] == [7, 1.5]


def test_the_environment_stands_over_the_file(files: _Files, config: Any) -> None:
    made = files.read(
        config,
        FILE,
        ORDERS_LIMIT="30",
        ORDERS_RATIO="0.25",
        ORDERS_DEBUG="No",
        ORDERS_FOLDER="/opt",
        ORDERS_TAGS="x, y",
        ORDERS_NOTE="seen",
        ORDERS_DATABASE__PORT="2",
        ORDERS_DATABASE__POOL__SIZE="8",
    )
    assert [_get(made, name) for name in ("dsn", "limit", "ratio", "debug", "folder", "tags", "note")] == [
        *("file", 30, 0.25, False, Path("/opt"), ["x", "y"], "seen")
    ]
    assert [_get(made, "database", name) for name in ("host", "port")] == ["db.local", 2]
    assert [_get(made, "database", "pool", name) for name in ("size", "wait_s")] == [8, 1.5]


def test_a_typeddict_has_what_is_set(files: _Files) -> None:
    made = files.read(Keys, "limit = 3", ORDERS_INNER__PORT="4")
    assert made == {"limit": 3, "inner": {"port": 4}}
    with pytest.raises(ConfigError, match="the field 'limit' of the configuration has no value"):
        files.read(Keys, "")


class Inner(TypedDict, total=False):
    port: int


class Keys(TypedDict):
    limit: int
    note: NotRequired[str]
    inner: NotRequired[Inner]


def test_a_mapping_is_not_changed(files: _Files) -> None:
    before = repr(MAPPING)
    made = files.read(MAPPING, FILE)
    assert made is not MAPPING
    assert repr(MAPPING) == before


@pytest.mark.parametrize("opaque", [7, "text", [1], int, object(), {1: 2}, Pool()])
def test_anything_else_stays_as_it_is(files: _Files, opaque: Any) -> None:
    assert files.read(opaque, "limit = 7", ORDERS_SIZE="9") is opaque
    assert Plugin("orders", config=opaque).config is opaque


def test_another_file_can_be_named(files: _Files, tmp_path: Path, config: Any) -> None:
    other = tmp_path / "other.toml"
    other.write_text("dsn = 'other'")
    assert _get(files.read(config, FILE, NYLON_RING_CONFIG_ORDERS=str(other)), "dsn") == "other"
    assert _get(files.read(config, FILE, NYLON_RING_CONFIG_ORDERS=""), "dsn") == "file"
    with pytest.raises(ConfigError, match=r"NYLON_RING_CONFIG_ORDERS names the file '.*none.toml', which is not there"):
        files.read(config, FILE, NYLON_RING_CONFIG_ORDERS=str(tmp_path / "none.toml"))


def test_names_of_variables() -> None:
    assert environment_name("orders.eu-2") == "ORDERS_EU_2"
    assert environment_name("größe") == "GR__E"
    made = read_config({"max-size": 1}, "orders eu", "", {"ORDERS_EU_MAX_SIZE": "2"})
    assert made == {"max-size": 2}


def test_a_plugin_without_a_file_reads_the_environment() -> None:
    assert read_config(Pool, "orders", "", {"ORDERS_SIZE": "5"}) == Pool(5)


# ---- what is wrong


def _file(files: _Files, what: str) -> str:
    return f"{files.file}: {what}"


def test_a_wrong_value_of_the_file_is_told(files: _Files, config: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        files.read(config, "dsn = 'd'\n[database.pool]\nsize = 'many'")
    message = str(raised.value)
    assert message.startswith(_file(files, "database.pool.size = 'many': "))
    assert any(word in message for word in ("expected a whole number", "expected `int`, got `str`", "valid integer"))
    assert isinstance(raised.value, NylonRingError)


def test_a_wrong_variable_is_told(files: _Files, config: Any) -> None:
    with pytest.raises(ConfigError, match=r"^ORDERS_DATABASE__PORT='x': expected a whole number$"):
        files.read(config, ORDERS_DSN="d", ORDERS_DATABASE__PORT="x")


def test_an_unknown_key_is_told(files: _Files, config: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        files.read(config, "dsn = 'd'\n[database]\nprot = 1")
    assert str(raised.value) == _file(
        files, "the key 'database.prot' is not known; did you mean 'port'? (known here: host, port, pool)"
    )


def test_a_table_is_wanted(files: _Files, config: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        files.read(config, "dsn = 'd'\ndatabase = 7")
    assert str(raised.value) == _file(files, "database = 7: expected a table")


@pytest.mark.parametrize("kind", ["dataclass", "msgspec", "pydantic"])
def test_a_missing_value_is_told(files: _Files, kind: str) -> None:
    with pytest.raises(ConfigError) as raised:
        files.read(KINDS[kind])
    assert str(raised.value) == (
        f"the field 'dsn' of the configuration has no value: set it in {files.file} under dsn, or in the environment "
        "as ORDERS_DSN"
    )


def test_a_missing_value_of_an_optional_part_counts_where_the_part_is_used(files: _Files) -> None:
    @dataclass
    class Outer:
        database: Database | None = None

    globals()["Outer"] = Outer
    assert files.read(Outer).database is None
    assert files.read(Outer, ORDERS_DATABASE__HOST="h").database == Database("h")
    with pytest.raises(ConfigError, match=r"the field 'database.host' .* in the environment as ORDERS_DATABASE__HOST"):
        files.read(Outer, ORDERS_DATABASE__PORT="1")


def test_what_pydantic_refuses_is_told_all_at_once(files: _Files) -> None:
    with pytest.raises(ConfigError) as raised:
        files.read(Model, "dsn = 1\nlimit = 'x'")
    assert _file(files, "dsn = 1: Input should be a valid string") in str(raised.value)
    assert _file(files, "limit = 'x': Input should be a valid integer") in str(raised.value)


def test_constraints_of_the_libraries_are_told_with_the_source(files: _Files) -> None:
    class Bounded(msgspec.Struct):
        size: Annotated[int, msgspec.Meta(ge=1)] = 1

    class BoundedModel(pydantic.BaseModel):
        size: int = pydantic.Field(1, ge=1, validation_alias="Size")

    with pytest.raises(ConfigError, match=r"^ORDERS_SIZE='0': expected `int` >= 1$"):
        files.read(Bounded, ORDERS_SIZE="0")
    with pytest.raises(ConfigError, match=r"^ORDERS_SIZE='0': Input should be greater than or equal to 1$"):
        files.read(BoundedModel, ORDERS_SIZE="0")


def test_a_class_may_refuse_its_values(files: _Files) -> None:
    @dataclass
    class Picky:
        low: int = 0
        high: int = 1

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low is above high")

    with pytest.raises(ConfigError, match=r"^the configuration: Picky refuses it: low is above high$") as raised:
        files.read(Picky, "low = 2")
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("content", [b"dsn = ", b"\xff = 1"])
def test_a_broken_file_is_told(files: _Files, content: bytes) -> None:
    files.file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        files.read(Plain)
    assert str(raised.value).startswith(_file(files, "is no TOML file in UTF-8: "))


def test_a_file_that_cannot_be_read_is_told(files: _Files) -> None:
    files.file.mkdir()
    with pytest.raises(ConfigError) as raised:
        files.read(Plain)
    assert str(raised.value) == _file(files, "cannot be read: Is a directory")


def test_variables_of_no_field_are_logged_once(files: _Files, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="nylon_ring.orders"):
        files.read(Pool, ORDERS_SIZ="5", ORDERS_Z="1", ORDERSIZE="2", ORDERS_SIZE="3")
    assert caplog.messages == [
        "these environment variables belong to no field of the configuration: ORDERS_SIZ, ORDERS_Z "
        "(known: ORDERS_SIZE, ORDERS_WAIT_S)"
    ]


# ---- types of fields, where no library is asked


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Server:
    host: str
    pool: Pool = field(default_factory=Pool)


TYPES: list[tuple[Any, str, Any]] = [
    (int, " 7 ", 7),
    (float, "1e3", 1000.0),
    (bool, "YES", True),
    (bool, "0", False),
    (str, " as it is ", " as it is "),
    (Path, "a/b", Path("a/b")),
    (list[int], "1, 2,3", [1, 2, 3]),
    (list[int], "[1, 2]", [1, 2]),
    (list[str], "", []),
    (tuple[int, ...], "1,2", (1, 2)),
    (tuple[int, str], "1,2", (1, "2")),
    (set[str], "a,b,a", {"a", "b"}),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (int | None, "", None),
    (int | None, "5", 5),
    (Optional[Path], "p", Path("p")),  # noqa: UP045  # the other way to write it
    (int | str, "5", 5),
    (str | int, "x", "x"),
    (bool | None, "true", True),
    (Literal["a", 2], "2", 2),
    (Literal["a", 2], "a", "a"),
    (Color, "blue", Color.BLUE),
    (Level, "2", Level.HIGH),
    (datetime.date, "2026-11-21", datetime.date(2026, 11, 21)),
    (datetime.datetime, "2026-11-21T10:00:00", datetime.datetime(2026, 11, 21, 10)),
    (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
    (Annotated[int, "a number"], "3", 3),
    (Any, "text", "text"),
    (list[Server], '[{"host": "a", "pool": {"size": 9}}]', [Server("a", Pool(9))]),
    (dict[str, Pool], '{"a": {"size": 2}}', {"a": Pool(2)}),
    (list[Level], "1,2", [Level.LOW, Level.HIGH]),
    (list[Path], "a,b", [Path("a"), Path("b")]),
]


def _with(annotation: Any) -> Any:
    return dataclass(type("Made", (), {"__annotations__": {"value": annotation}, "__module__": __name__}))


@pytest.mark.parametrize(("annotation", "text", "value"), TYPES)
def test_text_becomes_the_type_of_its_field(annotation: Any, text: str, value: Any) -> None:
    made = read_config(_with(annotation), "orders", "", {"ORDERS_VALUE": text})
    assert made.value == value
    assert type(made.value) is type(value)


FROM_FILE: list[tuple[Any, str, Any]] = [
    (float, "3", 3.0),
    (datetime.date, "2026-11-21", datetime.date(2026, 11, 21)),
    (list[float], "[1, 2.5]", [1.0, 2.5]),
    (tuple[int, ...], "[1]", (1,)),
    (dict[str, list[Path]], '{a = ["x"]}', {"a": [Path("x")]}),
    (Color, '"red"', Color.RED),
    (list[Server], '[{host = "a"}]', [Server("a")]),
    (object, "[1]", [1]),
]


@pytest.mark.parametrize(("annotation", "text", "value"), FROM_FILE)
def test_a_file_has_values_of_its_own(files: _Files, annotation: Any, text: str, value: Any) -> None:
    made = files.read(_with(annotation), f"value = {text}")
    assert made.value == value
    assert type(made.value) is type(value)


WRONG: list[tuple[Any, str, str]] = [
    (int, "'7'", "expected a whole number"),
    (int, "true", "expected a whole number"),
    (int, "1.0", "expected a whole number"),
    (float, "'x'", "expected a number"),
    (bool, "1", "expected a truth value"),
    (str, "1", "expected a text"),
    (Path, "1", "expected Path"),
    (list[int], "7", "expected a list, each a whole number"),
    (list[int], "[1, 'x']", "expected a whole number"),
    (tuple[int, str], "[1]", "expected a list"),
    (dict[str, int], "{a = 'x'}", "expected a whole number"),
    (int | None, "'x'", "expected a whole number"),
    (Literal["a", 2], "'b'", "expected one of 'a', 2"),
    (Color, "'green'", "expected one of 'red', 'blue'"),
    (decimal.Decimal, "'x'", "expected Decimal"),
    (datetime.date, "2026-11-21T10:00:00", "expected date"),
    (list[Server], "[{hots = 'a'}]", "Server has no such field"),
    (list[Server], "[{}]", "'host' is missing in it"),
    (list[Server], "[7]", "expected a table with the fields of Server"),
    (Callable[[], int], "7", "use a msgspec.Struct or a pydantic model"),
]


@pytest.mark.parametrize(("annotation", "text", "reason"), WRONG)
def test_a_file_must_have_the_type(files: _Files, annotation: Any, text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as raised:
        files.read(_with(annotation), f"value = {text}")
    assert str(raised.value).startswith(_file(files, "value = "))
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("annotation", "text", "reason"),
    [
        (bool, "on", r"a truth value \(true, false, 1, 0, yes, no\)"),
        (list[int], "1,x", "a whole number"),
        (list[int], "[1", "a list, each a whole number as JSON"),
        (dict[str, int], "a=1", "a table as JSON"),
        (int | bool, "x", r"a whole number or a truth value \(.*\)"),
        (Level, "3", "one of 1, 2"),
    ],
)
def test_wrong_text_is_told(annotation: Any, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"^ORDERS_VALUE='{text}'.*: expected {reason}$".replace("[1", r"\[1")):
        read_config(_with(annotation), "orders", "", {"ORDERS_VALUE": text})


@dataclass
class Node:
    name: str = "root"
    child: Optional[Node] = None  # noqa: UP045  # as text it is a cycle


def test_a_class_that_holds_itself_is_followed_once(files: _Files) -> None:
    assert files.read(Node, "[child]\nname = 'leaf'") == Node("root", Node("leaf"))


def test_a_structured_class_inside_a_dataclass_keeps_its_library(files: _Files) -> None:
    @dataclass
    class Mixed:
        inner: StructPool = field(default_factory=lambda: StructPool(size=9))

    globals()["Mixed"] = Mixed
    made = files.read(Mixed, ORDERS_INNER__WAIT_S="2")
    assert made.inner == StructPool(9, 2.0)


# ---- the plugin


def test_values_are_there_from_the_load_to_the_unload(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin("orders", config=Pool)
    seen: list[object] = []
    plugin.on_init(lambda: seen.append(plugin.config))
    with pytest.raises(NotBoundError, match=r"plugin.config of 'orders' has no values yet.*plugin.config = Pool"):
        _ = plugin.config
    for size in (5, 6):
        monkeypatch.setenv("ORDERS_SIZE", str(size))
        session = Session(plugin, None)
        session.run_init()
        session.unload()
    assert seen == [Pool(5), Pool(6)]


def test_a_test_may_assign_it() -> None:
    plugin = Plugin("orders", config=Pool)
    plugin.config = Pool(3)
    assert plugin.config == Pool(3)


def test_a_wrong_value_fails_the_load_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin("orders", config=Pool)
    seen: list[str] = []
    plugin.on_init(lambda: seen.append("init"))
    monkeypatch.setenv("ORDERS_SIZE", "x")
    with pytest.raises(ConfigError, match="ORDERS_SIZE='x'"):
        Session(plugin, None).run_init()
    assert seen == []
