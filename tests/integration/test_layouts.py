"""The two v1 layouts of a plugin's functions: chosen at build time, overridden at load time, and mixed up."""

from __future__ import annotations

from typing import Literal

import pytest
from conftest import BuildPlugin, StartHost
from nrhost import NrHost, Status

Layout = Literal["seed", "raw"]

SOURCE = """
    from nylon_ring_py import Plugin, Status

    plugin = Plugin("layouts")

    @plugin.handle_raw("echo")
    def echo(payload):
        return payload

    @plugin.handle("path")
    def path(req):
        return req.path

    @plugin.handle("chat", stream=True)
    def chat(req):
        return None

    @plugin.stream_data
    def on_data(sid, data):
        plugin.send_result(sid, Status.OK, bytes(data).upper())
"""


def check_all_functions(host: NrHost) -> None:
    assert host.call("echo", door="raw", body=b"raw").reply.data == b"raw"
    assert host.call("path", path="/x").reply.data == b"/x"
    assert host.call("echo", request="null", body=b"no request").reply.data == b"no request"
    sid = host.submit("chat", kind="stream").sid
    assert host.stream_data(sid, b"up") == Status.OK
    assert host.wait(sid, frames=1).data == [b"UP"]
    assert host.stream_close(sid) == Status.OK
    assert host.wait(sid).frames[-1].status == Status.STREAM_END


@pytest.mark.parametrize(("abi", "layout"), [("v1", "seed"), ("v1-raw", "raw")])
def test_each_layout_serves_its_own_hosts(build: BuildPlugin, start_host: StartHost, abi: str, layout: Layout) -> None:
    host = start_host()
    assert host.load(build(SOURCE, "plugin", "--abi", abi), layout=layout) == Status.OK
    check_all_functions(host)


@pytest.mark.parametrize(("abi", "forced"), [("v1", "raw"), ("v1-raw", "seed"), ("v1", "seed"), ("v1-raw", "raw")])
def test_the_environment_overrides_the_build(
    build: BuildPlugin, start_host: StartHost, abi: str, forced: Layout
) -> None:
    host = start_host(env={"NYLON_RING_V1_LAYOUT": forced})
    assert host.load(build(SOURCE, "plugin", "--abi", abi), layout=forced) == Status.OK
    check_all_functions(host)


def test_another_value_is_ignored_with_a_warning(build: BuildPlugin, start_host: StartHost) -> None:
    host = start_host(env={"NYLON_RING_V1_LAYOUT": "six"})
    assert host.load(build(SOURCE)) == Status.OK
    check_all_functions(host)
    assert "NYLON_RING_V1_LAYOUT is 'six'; it takes 'seed' or 'raw'" in host.stderr_tail()


def test_a_six_function_host_meets_five_functions(build: BuildPlugin, start_host: StartHost) -> None:
    """Its first raw call ends the instance and reads Unsupported; nothing it calls later crashes it."""
    host = start_host()
    assert host.load(build(SOURCE), layout="raw") == Status.OK
    assert host.call("path", path="/before").reply.data == b"/before"
    assert host.call("echo", door="raw", body=b"x").handle == Status.UNSUPPORTED
    assert host.call("path", path="/after").handle == Status.INVALID
    assert host.call("echo", door="raw", body=b"x").handle == Status.UNSUPPORTED
    assert host.stream_data(7, b"x") == Status.INVALID
    assert host.stream_close(7) == Status.UNSUPPORTED
    host.shutdown()
    host.unload()
    assert host.load(build(SOURCE, "right", "--abi", "v1-raw"), layout="raw") == Status.OK
    check_all_functions(host)


def test_the_same_in_the_middle_of_calls(build: BuildPlugin, start_host: StartHost) -> None:
    """Calls that are open when the wrong function ends the instance are answered like at any shutdown."""
    source = SOURCE.replace("return req.path", "gate.wait(); return req.path")
    source = source.replace('Plugin("layouts")', 'Plugin("layouts", workers=1, shutdown_timeout_s=0.2)')
    source += """
    import threading

    gate = threading.Event()
    plugin.on_shutdown(gate.set)
    """
    host = start_host()
    assert host.load(build(source), layout="raw") == Status.OK
    sids = [host.submit("path", path="/x").sid for _ in range(5)]
    assert host.call("echo", door="raw", body=b"x").handle == Status.UNSUPPORTED
    assert [host.wait(sid).reply.status for sid in sids] == [Status.ERR] * 5
