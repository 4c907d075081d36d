"""The fixtures of nylon_ring_py.testing, as authors' own test runs use them."""

from __future__ import annotations

import sys

import pytest

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.long

ORDERS = """
    import threading
    from nylon_ring_py import Plugin

    plugin = Plugin("orders")
    other = Plugin("other")
    made = []

    @plugin.handle("make")
    def make(req):
        made.append(req.path)
        return f"{len(made)} {threading.current_thread() is threading.main_thread()}"

    @plugin.handle("feed")
    def feed(req):
        yield from "ab"

    @plugin.handle("stop")
    def stop(req):
        breakpoint()
        return "went on"

    @other.handle("who")
    def who(req):
        return "other"

    plugin.on_shutdown(lambda: print("orders shut down"))
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the author's tests in a process of their own, with the fixtures found as pytest finds them."""
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


@pytest.fixture
def orders(pytester: pytest.Pytester) -> pytest.Pytester:
    """An author's folder with a plugin."""
    pytester.makepyfile(orders=ORDERS)
    return pytester


def test_both_hosts_by_a_marker(orders: pytest.Pytester) -> None:
    orders.makepyfile("""
        import pytest
        import orders
        from nylon_ring_py.host import Host
        from nylon_ring_py.testing import FakeHost

        pytestmark = pytest.mark.nylon_ring_plugin("orders.py")

        def test_fake(fake_host: FakeHost):
            assert fake_host.call("make", path="/7").text == "1 False"
            assert orders.made == ["/7"]
            assert [frame.text for frame in fake_host.call_stream("feed")] == ["a", "b", ""]

        def test_again(fake_host, nylon_ring_plugin):
            assert fake_host.plugin is nylon_ring_plugin is orders.plugin
            assert fake_host.call("make").text == "2 False"

        def test_built(host: Host):
            assert host.call("make", path="/8").text == "1 False"
            assert orders.made == ["/7", ""]
            test_built.path = host.path

        def test_built_once(host):
            assert host.path == test_built.path
            assert host.call("make").text == "1 False"

        @pytest.mark.nylon_ring_plugin("orders.py:other")
        def test_another_object(host, fake_host):
            assert host.call("who").text == fake_host.call("who").text == "other"
            assert host.path != test_built.path

        @pytest.mark.nylon_ring_plugin("orders.py", abi="v2", capacity=1)
        def test_another_abi(host, fake_host):
            assert (host.abi, fake_host.abi) == ("v2", "v2")
            assert len(list(fake_host.call_stream("feed"))) == len(list(host.call_stream("feed"))) == 3

        @pytest.mark.nylon_ring_plugin("orders.py", clock="manual")
        def test_another_clock(fake_host):
            fake_host.advance(1)
    """)
    run(orders).assert_outcomes(passed=7)


def test_the_plugin_of_all_tests(pytester: pytest.Pytester) -> None:
    package = pytester.mkpydir("source")
    (package / "__init__.py").write_text("from .entries import plugin as it\n")
    (package / "entries.py").write_text(
        "from nylon_ring_py import Plugin\nplugin = Plugin('p')\nplugin.handle_raw('echo')(lambda data: data)\n"
    )
    pytester.makeini("[pytest]\nnylon_ring_plugin = source:it\n")
    tests = pytester.mkdir("tests")
    (tests / "test_orders.py").write_text(
        "def test_it(host, fake_host):\n    assert host.call_raw('echo', b'x') == fake_host.call_raw('echo', b'x')\n"
    )
    run(pytester, "tests").assert_outcomes(passed=1)


def test_a_plugin_is_shut_down_after_its_test(orders: pytest.Pytester) -> None:
    orders.makepyfile("""
        import pytest

        @pytest.mark.nylon_ring_plugin("orders.py")
        @pytest.mark.parametrize("fixture", ["host", "fake_host"])
        def test_call(request, fixture):
            request.getfixturevalue(fixture).call("make")
            print("called")
    """)
    result = run(orders, "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*called", "*orders shut down"] * 2)


def test_a_broken_promise_fails_the_test(orders: pytest.Pytester) -> None:
    orders.makepyfile("""
        import pytest

        @pytest.mark.nylon_ring_plugin("orders.py")
        def test_lost(fake_host):
            fake_host.call("make")
            fake_host.calls[0].replies.clear()
    """)
    result = run(orders)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*PromiseBroken: *sid 1 (entry 'make') was taken, and its terminal reply is lost*"])


def test_building_by_hand(orders: pytest.Pytester) -> None:
    orders.makepyfile("""
        from pathlib import Path

        import pytest
        from nylon_ring_py.build.errors import BuildError
        from nylon_ring_py.host import Host
        from nylon_ring_py.testing import BuildPlugin

        def test_build(nylon_ring_build: BuildPlugin):
            one, other = nylon_ring_build("orders.py"), nylon_ring_build(Path("orders.py"), abi="v1-raw")
            assert one != other
            assert nylon_ring_build(Path("orders.py").resolve()) == one
            for path in (one, other):
                with Host.load(path) as host:
                    assert host.call("make").ok
            with pytest.raises(BuildError):
                nylon_ring_build("nothing.py")
    """)
    run(orders).assert_outcomes(passed=1)


WRONG_USES = [
    ("", "which plugin? Mark the test with @pytest.mark.nylon_ring_plugin"),
    ("@pytest.mark.nylon_ring_plugin()", "takes one source, FILE_OR_PACKAGE?:OBJECT?; not ()"),
    ("@pytest.mark.nylon_ring_plugin('a.py', version=2)", "abi=, capacity= and clock=; not {'version': 2}"),
    ("@pytest.mark.nylon_ring_plugin('none.py')", "there is no plugin 'none.py': looked for */none.py"),
    ("@pytest.mark.nylon_ring_plugin('orders.py:made')", "*'made'*"),
    ("@pytest.mark.nylon_ring_plugin('empty.py')", "*has no nylon_ring_py.Plugin object*"),
]


@pytest.mark.parametrize(("marker", "message"), WRONG_USES)
def test_wrong_use_is_explained(orders: pytest.Pytester, marker: str, message: str) -> None:
    orders.makepyfile(empty="")
    orders.makepyfile(f"""
        import pytest

        {marker}
        def test_fake(fake_host): ...

        {marker}
        def test_built(host): ...
    """)
    result = run(orders)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([f"*nylon-ring: *{message}*"] * 2)
    assert "Traceback" not in result.stdout.str()
    assert "another exception" not in result.stdout.str()


def test_other_wrong_uses(orders: pytest.Pytester) -> None:
    folder = orders.mkdir("other") / "json"
    folder.mkdir()
    (folder / "__init__.py").touch()
    orders.makepyfile("""
        import json
        import pytest

        @pytest.mark.nylon_ring_plugin("orders.py", clock="manual")
        def test_time(host): ...

        @pytest.mark.nylon_ring_plugin("other/json")
        def test_name(fake_host): ...
    """)
    result = run(orders)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "nylon-ring: time cannot be moved by hand in a built plugin: use the fixture fake_host*",
            "nylon-ring: */json cannot be imported: another module 'json' is there already, from *",
        ]
    )


def test_without_cffi(orders: pytest.Pytester) -> None:
    orders.makeconftest("import sys; sys.modules['cffi'] = None")
    orders.makepyfile("""
        import pytest
        pytestmark = pytest.mark.nylon_ring_plugin("orders.py")

        def test_built(host): ...

        def test_fake(fake_host):
            assert fake_host.call("make").ok
    """)
    result = run(orders)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["nylon-ring: nylon_ring_py.host needs cffi*pip install 'nylon-ring-py?host?'*"])


def test_a_breakpoint_in_a_handler(orders: pytest.Pytester) -> None:
    orders.makepyfile("""
        import pytest

        @pytest.mark.nylon_ring_plugin("orders.py")
        def test_stop(fake_host):
            assert fake_host.call("stop").text == "went on"
    """)
    result = orders.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", stdin=b"p req.entry\nc\n")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PDB set_trace*", "*'stop'*"])


def test_the_marker_and_the_option_are_declared(orders: pytest.Pytester) -> None:
    run(orders, "--markers").stdout.fnmatch_lines(["@pytest.mark.nylon_ring_plugin(source, *"])
    run(orders, "--help").stdout.fnmatch_lines(["*nylon_ring_plugin (string)*"])
