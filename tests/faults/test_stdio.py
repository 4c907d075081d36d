"""stdout and stderr that are closed, full or broken: nothing ends, and nothing goes to a descriptor of the host's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost
from hosts.environments import compile_host
from nrhost import TROUBLE, Status

SOURCE = '''
    import logging
    import subprocess
    import sys
    from nylon_ring_py import Plugin

    plugin = Plugin("talkative")

    def say(req):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        return "said"

    plugin.handle("say")(say)
    plugin.handle_sync("say_sync")(say)

    @plugin.handle("fails")
    def fails(req): raise ValueError("for the log")

    @plugin.handle("warns")
    def warns(req):
        logging.getLogger("any").warning("for the log")
        return "warned"

    @plugin.handle("child")
    def child(req):
        """What a child process prints goes where ours does."""
        return str(subprocess.run(["/bin/echo", "from a child"]).returncode)

    plugin.handle("echo")(lambda req: "echo")

    @plugin.on_shutdown
    def leave(): print("bye")
'''
ENTRIES = "say say_sync fails warns child echo"


@pytest.fixture(scope="module")
def talkative(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "talkative")


@pytest.fixture(scope="module")
def stdio_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "stdio_host", "tests/faults/stdio_host.c")


def run(host: Path, plugin: Path, how: str) -> dict[str, str]:
    """What the host says of each entry."""
    command = [str(host), str(plugin), how]
    done = subprocess.run(command, input=ENTRIES + "\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert not TROUBLE.search(done.stderr.encode())
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_closed_and_opened_again_as_sockets(stdio_host: Path, talkative: Path) -> None:
    said = run(stdio_host, talkative, "closed")
    assert said == {
        "say": "0 0 said",
        "say_sync": "0 0 said",
        "fails": "0 1 ValueError: for the log",
        "warns": "0 0 warned",
        "child": "0 0 0",
        "echo": "0 0 echo",
        "strays": "0",
    }


@pytest.mark.parametrize(("how", "why"), [("full", "No space left"), ("broken", "Broken pipe")])
def test_nowhere_to_write_to(stdio_host: Path, talkative: Path, how: str, why: str) -> None:
    """print raises, as in any Python, and that is the handler's reply; a log that cannot be written harms nobody."""
    said = run(stdio_host, talkative, how)
    for entry in ("say", "say_sync"):
        assert said[entry].startswith("0 1 "), said
        assert why in said[entry]
    assert said["fails"] == "0 1 ValueError: for the log"
    assert said["warns"] == "0 0 warned"
    assert said["echo"] == "0 0 echo"


def test_a_log_file_on_a_full_disk(start_host: StartHost, build: BuildPlugin) -> None:
    source = """
        import logging
        from nylon_ring_py import Plugin

        plugin = Plugin("full")
        plugin.handle("echo")(lambda req: req.body)

        @plugin.on_init
        def begin():
            logging.getLogger("nylon_ring.full").addHandler(logging.FileHandler("/dev/full"))

        @plugin.handle("fails")
        def fails(req): raise ValueError("for the log")
    """
    host = start_host(resident_fds=1)  # the author's file
    assert host.load(build(source)) == Status.OK
    for _ in range(30):
        assert host.call("fails").reply.text == "ValueError: for the log"
    assert host.call("echo", body=b"x").reply.data == b"x"
    host.unload()
