"""The handlers against real servers: what is asked at once, what is given up, and what a limit of time leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler

import async_fetch
import orjson
import pytest
from shop_server import Answer, shop

from nylon_ring_py import Status
from nylon_ring_py.testing import FakeHost

PATIENCE_S = 60.0


@pytest.fixture
def open_shops() -> Iterator[Callable[..., list[str]]]:
    """open_shops(*answers): a server for each; the plugin asks them, without losing patience."""
    with ExitStack() as running:

        def run(*answers: Answer) -> list[str]:
            addresses = [running.enter_context(shop(answer)) for answer in answers]
            async_fetch.plugin.config = async_fetch.Config(addresses, patience_s=PATIENCE_S)
            return addresses

        yield run


OpenShops = Callable[..., list[str]]


def test_all_shops_are_asked_at_once(open_shops: OpenShops) -> None:
    both = threading.Barrier(2)

    def when_both_are_asked(price: str) -> Answer:
        def answer(request: BaseHTTPRequestHandler) -> str:
            assert request.path == "/green%20tea"
            both.wait(PATIENCE_S)
            return price

        return answer

    addresses = open_shops(when_both_are_asked("4.50"), when_both_are_asked("4.20"))
    with FakeHost(async_fetch.plugin) as host:
        reply = host.call("prices", query="thing=green%20tea")
    assert orjson.loads(reply.data) == dict(zip(addresses, [4.5, 4.2], strict=True))


def test_a_shop_that_fails_leaves_the_others_alone(open_shops: OpenShops) -> None:
    addresses = open_shops(lambda _: "4.50", lambda _: None, lambda _: "a fortune")
    gone = "127.0.0.1:1"  # nobody may listen there
    async_fetch.plugin.config.shops.append(gone)
    with FakeHost(async_fetch.plugin) as host:
        found = orjson.loads(host.call("prices", query="thing=tea").data)
    assert found[addresses[0]] == 4.5
    assert "404" in found[addresses[1]]
    assert "a fortune" in found[addresses[2]]
    assert "connection" in found[gone]


def test_connections_are_kept_and_their_number_is_bounded(open_shops: OpenShops) -> None:
    clients: set[object] = set()

    def answer(request: BaseHTTPRequestHandler) -> str:
        clients.add(request.client_address)
        return "1"

    open_shops(answer)
    with FakeHost(async_fetch.plugin) as host:
        threads = [threading.Thread(target=host.call, args=("prices",), kwargs={"query": "thing=a"}) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 1 <= len(clients) <= async_fetch.Config().connections


def test_the_first_answer_is_taken_and_the_other_request_given_up(open_shops: OpenShops) -> None:
    slow_is_asked, given_up = threading.Event(), threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        slow_is_asked.set()
        assert request.rfile.read(1) == b""  # until the plugin hangs up
        given_up.set()

    def quick(_request: BaseHTTPRequestHandler) -> str:
        assert slow_is_asked.wait(PATIENCE_S)
        return "4.2"

    open_shops(slow, quick)
    with FakeHost(async_fetch.plugin, clock="manual") as host:
        assert host.call("first", query="thing=tea").text == "4.20"
        assert given_up.wait(PATIENCE_S)


def test_at_its_deadline_a_call_is_answered_and_its_request_given_up(open_shops: OpenShops) -> None:
    asked, given_up = threading.Event(), threading.Event()

    def silent(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        request.rfile.read(1)
        given_up.set()

    open_shops(silent)
    replies: list[tuple[int, str]] = []
    with FakeHost(async_fetch.plugin, clock="manual") as host:

        def ask() -> None:
            reply = host.call("first", query="thing=tea")
            replies.append((reply.status, reply.text))

        caller = threading.Thread(target=ask)
        caller.start()
        assert asked.wait(PATIENCE_S)
        host.advance(2)
        caller.join(PATIENCE_S)
        assert given_up.wait(PATIENCE_S)
    assert replies == [(Status.ERR, "TimeoutError: no answer within timeout_s=2")]


def test_what_is_not_asked_for(open_shops: OpenShops) -> None:
    open_shops(lambda _: None)
    with FakeHost(async_fetch.plugin) as host:
        assert host.call("prices").text == "ask with ?thing="
        reply = host.call("first", query="thing=x")
        assert (reply.status, reply.text) == (Status.INVALID, "no shop has it")
