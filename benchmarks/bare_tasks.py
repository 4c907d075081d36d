"""What asyncio itself costs in plain Python, with no plugin and no host: one JSON object on standard output.

python benchmarks/bare_tasks.py tasks --calls N --window W    tasks a second, W created together
python benchmarks/bare_tasks.py idle --streams N              memory of N tasks that wait
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

BODY = bytes(128)


async def echo(body: bytes) -> bytes:
    """A coroutine that waits for nothing."""
    return body


async def tasks_per_s(calls: int, window: int) -> float:
    """Tasks a second: as many as `window` are created, then all of them run to their end, and so on."""
    create = asyncio.get_running_loop().create_task
    rounds = max(calls // window, 1)
    began = 0
    for number in range(-1, rounds):  # the first round warms up
        if number == 0:
            began = time.perf_counter_ns()
        tasks = [create(echo(BODY)) for _ in range(window)]
        await asyncio.sleep(0)
        for task in tasks:
            if task.result() is not BODY:
                raise AssertionError("a task gave another result")
    return rounds * window * 1e9 / (time.perf_counter_ns() - began)


def rss_kib() -> int:
    """What of this process is in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


async def idle_kib(streams: int) -> int:
    """What tasks take that each wait on a queue, as a stream's handler waits for frames."""
    create = asyncio.get_running_loop().create_task

    async def wait(queue: asyncio.Queue[bytes]) -> None:
        await queue.get()

    before = rss_kib()
    tasks = [create(wait(asyncio.Queue(1))) for _ in range(streams)]
    await asyncio.sleep(0)
    grown = rss_kib() - before
    for task in tasks:
        task.cancel()
    return grown


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("tasks", "idle"))
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=10_000)
    options = parser.parse_args()
    if options.kind == "tasks":
        figures: dict[str, float] = {"calls_per_s": asyncio.run(tasks_per_s(options.calls, options.window))}
    else:
        figures = {"rss_kib": asyncio.run(idle_kib(options.streams))}
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
