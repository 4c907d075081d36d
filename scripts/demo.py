"""Build the examples and call them from the C host: what a host's author and a plugin's author see."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = ROOT / "build/c/nrhost"


def show(*command: str | Path) -> None:
    """Print a command the way one would type it, then what it says."""
    words = [str(word) for word in command]
    typed = [word.removeprefix(f"{ROOT}/") for word in words]
    print("$ " + " ".join(f"'{word}'" if " " in word or "{" in word else word for word in typed), flush=True)
    if subprocess.run(words).returncode != 0:
        sys.exit("the demo failed here")


def main() -> None:
    """Build and call each example."""
    nylon_ring = Path(sys.executable).with_name("nylon-ring")
    with tempfile.TemporaryDirectory() as folder:
        hello, shop, echo = (Path(folder, name) for name in ("hello.so", "shop_api.so", "duplex_echo.so"))
        show(nylon_ring, "build-plugin", ROOT / "examples/hello.py", "-o", hello)
        show(HOST, "call", hello, "unary", "--path", "/orders")
        show(HOST, "call", hello, "ping")
        show(HOST, "call", hello, "echo", "--raw", "--body", "just bytes")
        show(HOST, "stream", hello, "feed")
        show(nylon_ring, "build-plugin", ROOT / "examples/router/shop_api", "-o", shop)
        show(HOST, "call", shop, "http", "--method", "GET", "--path", "/products")
        show(nylon_ring, "build-plugin", ROOT / "examples/duplex_echo/duplex_echo.py", "-o", echo)
        show(HOST, "stream", echo, "chat", "--send", "one", "--send", "two", "--close")


if __name__ == "__main__":
    main()
