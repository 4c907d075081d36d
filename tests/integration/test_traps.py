"""An embedded Python takes nothing of its host: no variable, no signal, no thread; and it does not hold up its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import CORE_THREADS, BuildPlugin, StartHost, build_plugin, is_sanitized, memory_counts, until
from hosts.environments import compile_host, make_environment
from nrhost import NrHost, Status

SOURCE = '''
    import json
    import os
    import signal
    from nylon_ring_py import Plugin

    plugin = Plugin("probe", workers=1, shutdown_timeout_s=float(os.environ.get("TEST_TIMEOUT", "0.2")))
    count = 0

    def run(req):
        """Runs the body as code, and answers what it leaves in `answer`."""
        scope = {}
        exec(req.body.decode(), scope)
        return json.dumps(scope.get("answer"))

    plugin.handle("run")(run)
    plugin.handle_sync("run_sync")(run)
    plugin.handle_sync("echo")(lambda req: req.body)
    plugin.handle_raw("begun", sync=True)(lambda payload: str(count))

    @plugin.handle("busy")
    def busy(req):
        global count
        count += 1
        while True:
            sum(range(1000))

    @plugin.handle("say")
    def say(req):
        global count
        print("a line")
        open(os.environ["FIFO"]).read()
        count += 1

    @plugin.on_shutdown
    def leave():
        print("blocked while closing:", json.dumps(sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))))
'''


@pytest.fixture(scope="module")
def probe(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "probe")


@pytest.fixture(scope="module")
def ending_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(tmp_path_factory.mktemp("hosts") / "ending_host", "tests/hosts/ending_host.c")


@pytest.fixture
def host(probe: Path, start_host: StartHost) -> NrHost:
    host = start_host()
    assert host.load(probe) == Status.OK
    return host


def ask(host: NrHost, code: str, entry: str = "run", on: str = "main") -> Any:
    """What the code leaves in `answer`, run by an entry of the plugin."""
    reply = host.call(entry, body=textwrap.dedent(code).encode(), on=on).reply
    assert reply.status == Status.OK, reply.text
    return json.loads(reply.text)


def ask_python(code: str) -> Any:
    """The same, run by a plain Python of this environment, isolated and in UTF-8 mode."""
    command = [
        sys.executable,
        "-I",
        "-X",
        "utf8",
        "-c",
        f"import json\n{textwrap.dedent(code)}\nprint(json.dumps(answer))",
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


# ---- the environment ----


# What else Python, or its library, has ever read, beside what `python --help-env` lists.
UNLISTED = ["PYTHONUSERBASE", "PYTHONASYNCIODEBUG", "PYTHONDUMPREFS", "PYTHONDUMPREFSFILE", "PYTHONTHREADDEBUG",
            "PYTHONEXECUTABLE", "PYTHON_GIL", "PYTHON_PRESITE", "PYTHON_BASIC_REPL", "PYTHON_PERF_JIT_SUPPORT",
            "PYTHON_JIT", "PYTHONLEGACYWINDOWSSTDIO", "__PYVENV_LAUNCHER__"]  # fmt: skip

STEERED = """
    import asyncio, faulthandler, json, locale, os, pdb, site, sys, sysconfig, tracemalloc, warnings
    import concurrent.futures, multiprocessing

    caught = []
    pdb.set_trace = lambda **options: caught.append("pdb")
    breakpoint()
    loop = asyncio.new_event_loop()
    traced = getattr(sys, "is_stack_trampoline_active", lambda: False)()
    places = [module.__spec__.origin for module in (os, site, json, locale)]
    answer = {
        "flags": list(sys.flags), "path": sys.path, "warnings": [sys.warnoptions, len(warnings.filters)],
        "bytecode": [sys.dont_write_bytecode, sys.pycache_prefix],
        "prefixes": [sys.prefix, sys.base_prefix, sys.platlibdir, sys.executable],
        "places": places, "library": sysconfig.get_path("stdlib"), "digits": sys.get_int_max_str_digits(),
        "traced": [tracemalloc.is_tracing(), traced, loop.get_debug(), faulthandler.is_enabled()],
        "streams": [sys.stdout.encoding, sys.stdout.errors, sys.stderr.encoding, sys.stdout.write_through],
        "cpus": os.cpu_count(), "blocks": sys.getallocatedblocks() > 0, "breakpoint": caught,
        "hash": hash("steered") == SEEDED,
        "columns": list((lambda: 0).__code__.co_positions())[-1][2] is not None, "user": site.ENABLE_USER_SITE,
        "modules": sorted({"usercustomize", "steered"} & set(sys.modules)),
    }
    loop.close()
"""


def hostile_variables(folder: Path) -> dict[str, str]:
    """Every variable of this Python, with what would be noticed."""
    listed = subprocess.run([sys.executable, "--help-env"], check=True, capture_output=True, text=True).stdout
    names = {*re.findall(r"^(PYTHON\w+)", listed, re.MULTILINE), *UNLISTED}
    assert {"PYTHONPATH", "PYTHONHOME", "PYTHONMALLOC", "PYTHONSAFEPATH"} <= names
    hostile = dict.fromkeys(names, "1")
    folders = {"PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX", "PYTHONPLATLIBDIR"}
    hostile |= dict.fromkeys(folders, str(folder))
    hostile |= {"PYTHONSTARTUP": f"{folder}/startup.py", "PYTHON_HISTORY": f"{folder}/history"}
    hostile |= {"PYTHONOPTIMIZE": "2", "PYTHONHASHSEED": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1:replace"}
    hostile |= {"PYTHONWARNINGS": "error", "PYTHONINTMAXSTRDIGITS": "640", "PYTHONMALLOC": "malloc_debug"}
    hostile |= {"PYTHON_FROZEN_MODULES": "off", "PYTHON_CPU_COUNT": "77", "PYTHONBREAKPOINT": "steered.here"}
    hostile |= {"PYTHON_GIL": "0", "PYTHON_PRESITE": "steered"}
    hostile |= dict.fromkeys(("PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"), f"{folder}/python3")
    return hostile


def fill_with_traps(folder: Path) -> Path:
    """Puts there whatever Python might take from a current folder or a home; each leaves a mark when it runs."""
    mark = folder / "mark"
    trap = f"open({str(mark)!r}, 'a').write(__file__ + '\\n')\n"
    version = f"python3.{sys.version_info[1]}"
    user_site = folder / ".local/lib" / version / "site-packages"
    for place in (folder, user_site, folder / "lib" / version, folder / "lib" / version / "site-packages"):
        place.mkdir(parents=True, exist_ok=True)
        names = ("json", "os", "site", "sitecustomize", "usercustomize", "startup", "numbers", "steered", "encodings")
        for module in (*names, "nylon_ring_py", "_session"):
            (place / f"{module}.py").write_text(trap)
        (place / "evil.pth").write_text(f"import os; open({str(mark)!r}, 'a').write('evil.pth')\n")
        (place / f"{version.replace('.', '')}._pth").write_text(f"{folder}\nimport site\n")
    (folder / "pyvenv.cfg").write_text(f"home = {folder}\ninclude-system-site-packages = true\nversion = 2.7\n")
    (folder / "pybuilddir.txt").write_text("lib")
    return mark


@pytest.mark.parametrize("named", [False, True], ids=["recorded", "named"])
def test_the_host_s_environment_steers_nothing(
    start_host: StartHost, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """Neither its variables nor its folders: not in the host, nor in a Python that is asked, nor in a worker."""
    mark = fill_with_traps(tmp_path)
    hostile = hostile_variables(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    if named:
        hostile["NYLON_RING_PYTHON"] = sys.executable
    seeded = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-s", "-c", "print(hash('steered'))"]
    seed = subprocess.run(command, check=True, capture_output=True, text=True, env=seeded, cwd="/").stdout.strip()
    code = STEERED.replace("SEEDED", seed)
    host = start_host(env={**hostile, "HOME": str(tmp_path)})
    assert host.load(probe) == Status.OK
    found, expected = ask(host, code), ask_python(code)
    expected["blocks"] = memory_counts()  # what is watched takes all its memory from malloc
    assert "PYTHONEXECUTABLE" in host.stderr_tail()
    assert found == expected
    child = """
        import concurrent.futures, multiprocessing
        from multiprocessing import resource_tracker

        expression = "[__import__('sys').flags.isolated, __import__('sys').path, __import__('json').__file__]"
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            answer = pool.submit(eval, expression).result()
        resource_tracker._resource_tracker._stop()
    """
    isolated, path, place = ask(host, child)
    assert (isolated, place) == (1, json.__file__)
    assert not [entry for entry in path if entry in ("", str(tmp_path))]
    assert not mark.exists(), mark.read_text()
    assert b"import time:" not in host.stderr()


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_text_is_utf8_and_the_host_s_locale_its_own(start_host: StartHost, probe: Path, locale: str) -> None:
    host = start_host(env={"LC_ALL": locale})
    assert host.load(probe) == Status.OK
    code = """
        import locale, os, sys
        print("caf\\u00e9")
        with open(os.devnull) as file:
            used = {file.encoding, sys.stdout.encoding, sys.getfilesystemencoding(), locale.getpreferredencoding(False)}
        answer = [sys.flags.utf8_mode, sorted({name.lower() for name in used}), locale.setlocale(locale.LC_ALL)]
    """
    assert ask(host, code) == [1, ["utf-8"], "C"]  # a program that never calls setlocale is in "C"
    assert "café\n".encode() in host.stderr()


def test_the_executable_is_the_environment_s(start_host: StartHost, tmp_path: Path) -> None:
    """Though PATH names other Pythons; and multiprocessing starts that one, not the host."""
    environment = make_environment(tmp_path / "venv")
    plugin = build_plugin(SOURCE, tmp_path / "plugin.so", "--python", str(environment.python))
    decoys = tmp_path / "bin"
    decoys.mkdir()
    for name in ("python", "python3", f"python3.{sys.version_info[1]}", "nrhost"):
        (decoys / name).write_text("#!/bin/sh\nexit 99\n")
        (decoys / name).chmod(0o755)
    host = start_host(env={"PATH": str(decoys)})
    assert host.load(plugin) == Status.OK
    code = """
        import multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import resource_tracker

        expression = "[__import__('sys').prefix, __import__('os').readlink('/proc/self/exe')]"
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            child = pool.submit(eval, expression).result()
        resource_tracker._resource_tracker._stop()  # a process that would stay as long as the host does
        answer = [sys.executable, sys.prefix, sys.exec_prefix, sys.base_prefix, child]
    """
    prefix = str(environment.folder)
    child = [prefix, str(environment.python.resolve())]
    assert ask(host, code) == [str(environment.python), prefix, prefix, sys.base_prefix, child]


def test_every_extension_module_of_the_library(host: NrHost) -> None:
    """The host opens plugins RTLD_LOCAL; what a plain Python imports, a plugin does."""
    code = """
        import importlib.util, sys
        from importlib.machinery import EXTENSION_SUFFIXES

        answer = {}
        for name in sorted(sys.stdlib_module_names):
            spec = importlib.util.find_spec(name)
            if spec and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES)):
                try:
                    answer[name] = __import__(name).__name__
                except ImportError as error:
                    answer[name] = str(error)
    """
    imported = ask(host, code)
    assert imported == ask_python(code)
    assert len(imported) > 30


# ---- signals ----

FAULTS = {getattr(signal, f"SIG{name}") for name in ("SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS")}


@contextlib.contextmanager
def at_default(number: int) -> Iterator[None]:
    """A host that is started meanwhile has it at its default, whatever the shell says."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def blocked(number: signal.Signals) -> Iterator[None]:
    """What is started meanwhile inherits that this signal is blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def masks(host: NrHost, line: str = "SigBlk") -> dict[int, set[int]]:
    """The signals in a line of each thread's status."""
    found = {}
    for task in Path(f"/proc/{host.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            lines = dict(each.split(":\t", 1) for each in (task / "status").read_text().splitlines())
            bits = int(lines[line], 16)
            found[int(task.name)] = {number for number in range(1, 65) if bits >> (number - 1) & 1}
    return found


def test_our_threads_take_no_signal_and_the_host_s_keep_theirs(start_host: StartHost, probe: Path) -> None:
    with blocked(signal.SIGUSR1), at_default(signal.SIGINT):
        host = start_host()
    host.load(probe, get_only=True, on="pool:1")
    others = int(is_sanitized("tsan"))  # it has a thread of its own, which takes none
    # A thread begins with all of them blocked.
    until(lambda: sum(mask != {signal.SIGUSR1} for mask in masks(host).values()) == others)
    before = masks(host)
    dispositions = [masks(host, line)[host.pid] for line in ("SigIgn", "SigCgt")]
    assert host.init(on="pool:1") == Status.OK
    for place in ("main", "pool:1"):
        ask(host, "import asyncio, faulthandler, subprocess", "run_sync", place)
    worker = ask(host, "import threading; answer = threading.get_native_id()")
    until(lambda: len(masks(host)) == len(before) + 2)  # the worker, and the runtime's; others may just be ending
    now = masks(host)
    assert {task: now[task] for task in before} == before
    ours = {task: mask for task, mask in now.items() if task not in before}
    assert worker in ours
    expected = signal.valid_signals() - FAULTS - {signal.SIGKILL, signal.SIGSTOP}
    for mask in ours.values():
        assert mask == expected
    host.unload()
    said = host.stderr().decode().partition("blocked while closing: ")[2].splitlines()
    assert set(json.loads(said[0])) == expected
    now = masks(host)
    assert {task: now[task] for task in before} == before
    assert [masks(host, line)[host.pid] for line in ("SigIgn", "SigCgt")] == dispositions  # Ctrl-C ends it, too


def test_a_plugin_cannot_take_a_signal_by_mistake(host: NrHost) -> None:
    """Not on the host's main thread either: it is not Python's."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    for entry in ("run", "run_sync"):
        reply = host.call(entry, body=code.encode(), on="main").reply
        assert (reply.status, reply.text[:10]) == (Status.ERR, "ValueError")


def test_sigterm_goes_to_the_host_s_handler(ending_host: Path, probe: Path) -> None:
    """While a worker is at work, and main does not take it."""
    command = [str(ending_host), str(probe), "busy", "1", "sigterm", "7"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 7, done.stderr.decode()


# ---- threads and interpreters ----


def test_python_s_main_thread_is_the_runtime_s(start_host: StartHost, probe: Path) -> None:
    """The thread that loaded the plugin has gone; Python's main thread must not have."""
    host = start_host()
    before = set(masks(host))
    assert host.load(probe, on="thread") == Status.OK
    code = """
        import threading
        main = threading.main_thread()
        answer = [main.is_alive(), main is threading.current_thread(), main.native_id, threading.get_native_id()]
    """
    alive, is_this_one, main, worker = ask(host, code)
    assert (alive, is_this_one) == (True, False)
    until(lambda: set(masks(host)) - before == {main, worker})  # a joined thread stands in /proc a moment longer
    host.unload()
    assert main in masks(host)


def test_a_plugin_that_needs_little_imports_little(build_once: BuildPlugin, start_host: StartHost) -> None:
    """Each of these is a part of the time to the first reply."""
    source = """
        import sys
        from nylon_ring_py import Plugin

        plugin = Plugin("small")

        @plugin.handle_sync("modules")
        def modules(req):
            return ",".join(sys.modules)
    """
    host = start_host()
    assert host.load(build_once(source, "small")) == Status.OK
    loaded = set(host.call("modules").reply.text.split(","))
    costly = {"collections", "enum", "functools", "threading", "typing"}
    if sys.version_info[:3] == (3, 13, 0):
        costly.remove("collections")  # gh-125245
    assert not costly & loaded - set(ask_python("import sys; answer = list(sys.modules)"))


def test_the_core_is_refused_in_other_interpreters(host: NrHost) -> None:
    code = """
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters

        answer = []
        for isolated in (True, False):
            if sys.version_info >= (3, 13):
                made = interpreters.create("isolated" if isolated else "legacy")
                answer.append(interpreters.exec(made, "import nylon_ring_py").errdisplay)
            else:
                made = interpreters.create(isolated=isolated)
                try:
                    interpreters.run_string(made, "import nylon_ring_py")
                    answer.append("imported")
                except interpreters.RunFailedError as error:
                    answer.append(str(error))
            interpreters.destroy(made)
    """
    for said in ask(host, code):
        assert "module nylon_ring_py._core does not support loading in subinterpreters" in said
    assert ask(host, "import nylon_ring_py as n; answer = n.Request(path='x').path") == "x"


THREADS = """
    import threading
    for target in (threading.Event().wait, lambda: [sum(range(1000)) for _ in iter(int, 1)]):
        threading.Thread(target=target, daemon={daemon}).start()
"""


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("how", ["return", "exit_without_shutdown"])
def test_threads_of_a_plugin_do_not_keep_the_process(
    host: NrHost, daemon: bool, how: Literal["return", "exit_without_shutdown"]
) -> None:
    ask(host, THREADS.format(daemon=daemon))
    assert host.exit(how, code=7) == 7
    assert b"Fatal" not in host.stderr()
    assert b"threading" not in host.stderr()


@pytest.mark.parametrize("daemon", [True, False])
def test_threads_of_a_plugin_do_not_keep_it(start_host: StartHost, probe: Path, daemon: bool) -> None:
    host = start_host(resident_threads=CORE_THREADS + 2, env={"TEST_TIMEOUT": "30"})
    assert host.load(probe) == Status.OK
    ask(host, THREADS.format(daemon=daemon))
    host.unload()
    assert b"nylon-ring:" not in host.stderr()  # where it says what did not end
    assert host.load(probe) == Status.OK
    assert host.call("echo", body=b"x").reply.data == b"x"


def test_a_line_is_there_before_the_process_ends(ending_host: Path, probe: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [str(ending_host), str(probe), "say", "1", "return", "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "FIFO": str(fifo)}) as process:
        assert process.stdout is not None
        try:
            assert select.select([process.stdout], [], [], 60)[0], "nothing came through the pipe"
            assert process.stdout.readline() == b"a line\n"
            fifo.write_text("go on")
            assert process.wait(60) == 7
        finally:
            process.kill()
