"""The command line's own part: arguments, exit codes, what is printed where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import REAL_STUB

from nylon_ring_py.build.builder import BuildResult
from nylon_ring_py.build.elf import add_payload
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import encode_payload, pack_archive
from nylon_ring_py.cli import main as cli


class Builder:
    """Stands for build_plugin and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.error: BaseException | None = None
        self.warnings: list[str] = []

    def __call__(self, source: Path, **options: Any) -> BuildResult:
        self.asked = {"source": source, **options}
        if self.error:
            raise self.error
        manifest = {"plugin": {"name": "p", "version": "1"}, "entries": [{"name": "only"}]}
        return BuildResult(Path("p.so"), 1000, manifest, self.warnings)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    stand_in = Builder()
    monkeypatch.setattr(cli, "build_plugin", stand_in)
    return stand_in


def test_defaults(builder: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build-plugin", "hello.py"]) == 0
    assert builder.asked == {
        "source": Path("hello.py"), "object_name": "", "out": None, "abi": "v1", "python": "", "sign": None
    }  # fmt: skip
    assert capsys.readouterr() == ("p.so: plugin p 1, 1 entry, 1000 bytes\n", "")


def test_all_options(builder: Builder) -> None:
    command = ["build-plugin", "a/b.py:app", "-o", "x.so", "--abi", "v1-raw", "--python", "/opt/python"]
    assert cli.main([*command, "--sign", "key.pem"]) == 0
    assert builder.asked == {
        "source": Path("a/b.py"), "object_name": "app", "out": Path("x.so"), "abi": "v1-raw", "python": "/opt/python",
        "sign": Path("key.pem"),
    }  # fmt: skip


def test_colon_in_a_folders_name(builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name").mkdir()
    cli.main(["build-plugin", "odd:name"])
    assert (builder.asked["source"], builder.asked["object_name"]) == (Path("odd:name"), "")
    cli.main(["build-plugin", "c:/x/hello.py"])
    assert builder.asked["source"] == Path("c:/x/hello.py")


@pytest.mark.parametrize("error", [BuildError("what happened"), OSError("what happened")])
def test_errors_go_to_stderr_with_exit_code_1(
    builder: Builder, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    builder.error = error
    assert cli.main(["build-plugin", "hello.py"]) == 1
    assert capsys.readouterr() == ("", "nylon-ring: error: what happened\n")


def test_warnings_go_to_stderr(builder: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    builder.warnings = ["hello.py:1: beware"]
    assert cli.main(["build-plugin", "hello.py"]) == 0
    assert capsys.readouterr().err == "nylon-ring: warning: hello.py:1: beware\n"


@pytest.mark.parametrize("command", [[], ["build"], ["build-plugin"], ["build-plugin", "x.py", "--abi", "v9"]])
def test_wrong_arguments_exit_with_2(command: list[str], builder: Builder) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(command)
    assert caught.value.code == 2
    assert builder.asked == {}


def test_programming_errors_are_not_hidden(builder: Builder) -> None:
    builder.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        cli.main(["build-plugin", "hello.py"])


def test_the_manifest_is_read_and_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = {"entries": [{"name": "ping", "kind": "unary", "thread": "host", "raw": False}]}
    payload = encode_payload({"name": "p"}, manifest, pack_archive({"p.py": b"1/0"}))
    file = tmp_path / "p.so"
    file.write_bytes(add_payload(REAL_STUB.read_bytes(), payload))
    assert cli.main(["manifest", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == manifest["entries"]
    assert cli.main(["manifest", str(tmp_path / "nowhere.so")]) == 1
    assert cli.main(["manifest", __file__]) == 1
    assert "ELF file" in capsys.readouterr().err
