"""A process pool as a wall: C code that may crash does so in a process of its own, and its call is answered `Err`."""

import ctypes
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from nylon_ring_py import Plugin, Request


def process() -> ProcessPoolExecutor:
    """Made when the plugin is loaded, and made again where its process has died."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


plugin = Plugin("fragile", version="1.0.0", executor=process)


@plugin.handle("peek")
def peek(req: Request) -> bytes:
    """The text at the address in the body; elsewhere than in this process a SIGSEGV would be the host's end."""
    return ctypes.string_at(int(req.body))


@plugin.handle("length")
def length(req: Request) -> str:
    """The length of the body, as C counts it: up to the first zero."""
    return str(len(ctypes.c_char_p(req.body).value or b""))
