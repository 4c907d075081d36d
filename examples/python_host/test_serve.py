"""The server, asked as a client asks it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_a_client_is_answered_in_order(tmp_path: Path) -> None:
    plugin = tmp_path / "hello.so"
    build = [
        sys.executable,
        "-m",
        "nylon_ring_py.cli",
        "build-plugin",
        str(HERE.parent / "hello.py"),
        "-o",
        str(plugin),
    ]
    subprocess.run(build, check=True, cwd=tmp_path)
    server = [sys.executable, "-P", str(HERE / "serve.py"), str(plugin)]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.fullmatch(r"hello 1\.0\.0 on port (\d+)\n", process.stdout.readline())
            assert found is not None
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=60) as client:
                client.sendall(b"unary\necho hi there\nfeed\nnobody\nping\n")
                client.shutdown(socket.SHUT_WR)
                answers = client.makefile("rb").read().decode().splitlines()
        finally:
            process.terminate()
    frames = [f"Status.OK frame {i}" for i in range(5)]
    assert answers == [
        "Status.OK OK: ",
        "Status.OK hi there",
        *frames,
        "Status.STREAM_END ",
        "refused: Status.INVALID",
        "Status.OK pong",
    ]
    assert process.returncode == 0
