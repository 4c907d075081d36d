"""A thread pool: a database that takes at most four connections, each of which belongs to the thread that made it."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

from nylon_ring_py import HandlerError, Plugin, Request, Status

BOOKS = [("Momo", 1973), ("Emil", 1929), ("Matilda", 1988)]

own = threading.local()


def connect() -> None:
    """Gives this thread a connection of its own."""
    own.database = sqlite3.connect(":memory:")
    own.database.execute("create table books (title text primary key, year integer)")
    own.database.executemany("insert into books values (?, ?)", BOOKS)


# An executor that starts nothing before its first call may be made here; it is ended with the plugin.
plugin = Plugin("library", version="1.0.0", executor=ThreadPoolExecutor(4, initializer=connect))


@plugin.handle("year")
def year(req: Request) -> str:
    """The year of the book `?title=`."""
    row = own.database.execute("select year from books where title = ?", [req.args.first("title")]).fetchone()
    if row is None:
        raise HandlerError(Status.INVALID, "there is no such book")
    return str(row[0])
