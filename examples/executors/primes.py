"""A process pool: work in pure Python on all cores, while the host's process keeps its GIL for everything else."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from nylon_ring_py import HandlerError, Plugin, Request, Status


def processes() -> ProcessPoolExecutor:
    """Made when the plugin is loaded, and made again where a process has died."""
    return ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))


plugin = Plugin("primes", version="1.0.0", executor=processes)


@plugin.handle("count")
def count(req: Request) -> str:
    """How many primes there are below the number in the body."""
    try:
        limit = int(req.body)
    except ValueError:
        raise HandlerError(Status.INVALID, "the body is no whole number") from None
    found = sum(all(number % other for other in range(2, int(number**0.5) + 1)) for number in range(2, limit))
    return f"{found} primes, counted by process {os.getpid()}"


@plugin.handle_sync("host")
def host(_req: Request) -> str:
    """The host's process; an entry on the host's thread never goes to the executor."""
    return str(os.getpid())
