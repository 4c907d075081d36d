"""The handlers run where a host would have them: in the pool's threads and processes."""

import os

import fragile
import library
import primes

from nylon_ring_py import Status
from nylon_ring_py.testing import FakeHost


def test_each_thread_has_its_connection() -> None:
    with FakeHost(library.plugin) as host:
        assert {host.call("year", query="title=Momo").text for _ in range(8)} == {"1973"}
        assert host.call("year", query="title=Faust").status == Status.INVALID


def test_primes_are_counted_elsewhere() -> None:
    with FakeHost(primes.plugin) as host:
        found, _, process = host.call("count", body=b"100").text.partition(" primes, counted by process ")
        assert found == "25"
        assert int(process) != int(host.call("host").text) == os.getpid()
        assert host.call("count", body=b"many").status == Status.INVALID


def test_a_crash_is_an_answer() -> None:
    with FakeHost(fragile.plugin) as host:
        assert host.call("length", body=b"four\0 and more").text == "4"
        crashed = host.call("peek", body=b"0")
        assert (crashed.status, crashed.text[:17]) == (Status.ERR, "BrokenProcessPool")
        assert host.call("length", body=b"again").text == "5"
