"""The request reaches the handler as the host sent it, and what cannot be served is refused without a reply."""

from __future__ import annotations

from functools import partial

from conformance.answers import ERR, INVALID, OK, UNSUPPORTED
from conformance.case import case
from conformance.driver import Value
from conformance.pair import Pair

v1_case = partial(case, abis=("v1", "v1-raw"), elsewhere="v2 has no method, path, query and headers")


def _describes(pair: Pair, fields: tuple[str, str, str], headers: list[tuple[str, bytes]], what: str) -> None:
    method, path, query = fields
    pairs: list[tuple[str, Value]] = [("method", method), ("path", path), ("query", query)]
    for name, value in headers:
        pairs += [("hkey", name), ("hval", value)]
    lines = [line.encode() for line in (*fields, str(len(headers)))]
    lines += [name.encode() + b": " + value for name, value in headers]
    answer = pair.request("describe", pairs)
    answer.expect_reply(OK, b"".join(line + b"\n" for line in lines), what)


@v1_case(needs=("metadata",))
def all_fields(pair: Pair) -> None:
    """Method, path, query and headers arrive as they were sent, in UTF-8."""
    headers = [("accept", b"text/plain"), ("x-place", "Zürich 東京".encode())]
    _describes(pair, ("GET", "/orders/7", "a=1&b=two%20words"), headers, "a request")
    _describes(pair, ("LÖSCHE", "/straße/東京", "größe=weiß"), headers, "a request beyond ASCII")
    _describes(pair, ("", "", ""), [("", b"")], "a request of empty fields")


@v1_case(needs=("metadata",))
def repeated_headers(pair: Pair) -> None:
    """A header that comes twice arrives twice, in order and with its spelling."""
    headers = [("Set-Cookie", b"a=1"), ("accept", b"x"), ("set-cookie", b"b=2"), ("Set-Cookie", b"a=1")]
    _describes(pair, ("GET", "/", ""), headers, "repeated headers")


@v1_case(needs=("metadata",))
def fifty_headers(pair: Pair) -> None:
    """Fifty headers arrive, in order."""
    headers = [(f"x-header-{number}", b"value %d" % number) for number in range(50)]
    _describes(pair, ("GET", "/", ""), headers, "fifty headers")


@v1_case(needs=("metadata", "header_bytes"))
def latin1_header_values(pair: Pair) -> None:
    """A header's value may be no UTF-8, and arrives byte for byte."""
    _describes(
        pair, ("GET", "/", ""), [("x-name", "Zoë".encode("latin-1")), ("x-all", bytes(range(128, 256)))], "latin-1"
    )


@case(needs=("raw",))
def no_request_through_raw(pair: Pair) -> None:
    """Through the raw door there is no request."""
    pair.call("describe", door="raw").expect_reply(OK, b"no request\n", "describe through raw")


@case(abis=("v2",), elsewhere="v1 has a request with every call of `handle`")
def no_request_in_v2(pair: Pair) -> None:
    """In v2 no call has a request."""
    pair.call("describe").expect_reply(OK, b"no request\n", "describe")


@case()
def unknown_entries(pair: Pair) -> None:
    """An entry that the plugin does not have is Invalid, and no reply follows."""
    for entry in ("nowhere", "", "größe", "echo ", "ECHO", "e" * 5000):
        pair.call(entry, b"x").expect_refused(INVALID, f"entry {entry[:20]!r}")
    pair.call("nowhere", kind="stream").expect_refused(INVALID, "an unknown stream entry")
    pair.call("echo", b"alive").expect_reply(OK, b"alive", "echo afterwards")


@case()
def failures_are_replies(pair: Pair) -> None:
    """A handler that fails has started, so its failure is a reply: Err with its text, pooled and synchronous."""
    for entry in ("fail", "fail_sync"):
        pair.call(entry, b"no such order").expect_reply(ERR, b"ValueError: no such order", entry)


@case(entries=("fail_async",))
def failures_after_waiting(pair: Pair) -> None:
    """So is the failure of a handler that has waited for something."""
    for _ in range(3):
        pair.call("fail_async", b"no such order").expect_reply(ERR, b"ValueError: no such order", "fail_async")


@case(entries=("typed",))
def typed_bodies(pair: Pair) -> None:
    """A body of the right form is taken, and the others are Invalid, where it can be said with the field's name."""
    for number in (0, 7, 1_000_000):
        pair.call("typed", b'{"number": %d}' % number).expect_reply(OK, b"%d" % (number + 1), "typed")
    for body in (b'{"number": "seven"}', b'{"count": 7}', b"{}"):
        pair.call("typed", body).expect_failure(INVALID, "number", f"typed with {body!r}")
    for body in (b"", b"seven", b"{"):
        pair.call("typed", body).expect_failure(INVALID, "", f"typed with {body!r}")
    pair.call("typed", b'{"number": 1}').expect_reply(OK, b"2", "typed afterwards")


@case()
def statuses(pair: Pair) -> None:
    """A handler's own status reaches the host."""
    for status in (ERR, INVALID, UNSUPPORTED):
        pair.call("status", b"%d" % status).expect_reply(status, b"as asked", "status")
