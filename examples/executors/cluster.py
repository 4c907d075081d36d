"""A dask cluster: calls that run on other machines. Each of them has this package; none needs the plugin's file."""

import os
import socket

from distributed import Client

from nylon_ring_py import Plugin, Request


def cluster() -> Client:
    """The scheduler's client. It is closed with the plugin."""
    return Client(os.environ.get("DASK_SCHEDULER", "tcp://127.0.0.1:8786"))


plugin = Plugin("cluster", version="1.0.0", timeout_s=60)


@plugin.handle("words", executor=cluster)
def words(req: Request) -> str:
    """How many words the body has, and who has counted them."""
    return f"{len(req.body.split())} words, counted by process {os.getpid()} on {socket.gethostname()}"
