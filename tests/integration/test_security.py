"""What a plugin file may do: nothing before `init`, nothing outside of its archive; and who may write to it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import ROOT, BuildPlugin, StartHost, is_sanitized
from hosts.environments import compile_c, installed_stub, missing
from nrhost import Status

from nylon_ring_py.build.builder import write_plugin
from nylon_ring_py.build.elf import add_payload, extract_payload
from nylon_ring_py.build.payload import encode_payload, pack_archive, read_payload

SOURCE = """
    import os
    from nylon_ring_py import Plugin

    if "MARK" in os.environ:
        open(os.environ["MARK"], "a").close()
    plugin = Plugin("probe", workers=1)
    plugin.handle("echo")(lambda req: req.body)
"""


@pytest.fixture(scope="module")
def probe(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "probe")


# ---- before init ----


@pytest.fixture(scope="module")
def bare_stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed stub; where that is instrumented, one that is not, since a sanitizer begins with a constructor."""
    if not is_sanitized("asan") and not is_sanitized("tsan"):
        return installed_stub()
    sources = [*sorted((ROOT / "shim").glob("*.c")), *sorted((ROOT / "shim/abi").glob("*.c"))]
    flags = ["-shared", "-nostartfiles", "-fvisibility=hidden", "-fcf-protection=none", "-Wa,-mx86-used-note=no"]
    flags += ["-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Ishim"]
    return compile_c(tmp_path_factory.mktemp("stub") / "stub.so", sources, flags)


@pytest.fixture(scope="module")
def quiet_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hosts") / "quiet_host"
    return compile_c(out, ["tests/hosts/quiet_host.c"], ["-Wall", "-Wextra", "-Werror", "-Ishim/abi", "-ldl"])


def run_quiet_host(host: Path, plugin: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Without a preloaded sanitizer: that starts a thread of its own, and none of this is instrumented."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"} | variables
    return subprocess.run([host, plugin], capture_output=True, text=True, env=environment, cwd="/")


def test_nothing_in_the_file_runs_by_itself(bare_stub: Path, probe: Path, tmp_path: Path) -> None:
    """No constructor, nothing resolved by code, no library but libc; and the one destructor is the stub's own."""
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(bare_stub.read_bytes(), extract_payload(probe.read_bytes())))
    for file in (bare_stub, plugin):
        said = subprocess.run(["readelf", "-dsrW", str(file)], check=True, capture_output=True, text=True).stdout
        assert re.findall(r"\((PREINIT_ARRAY|INIT_ARRAY|INIT|FINI|AUDIT|DEPAUDIT|TEXTREL)\)", said) == []
        assert re.findall(r"IRELATIV|IFUNC|GNU_IFUNC|\bTLS\b", said) == []
        assert re.findall(r"\(FINI_ARRAYSZ\) +(\d+)", said) == ["8"]  # what lets calls go at a dlclose without shutdown
        assert re.findall(r"\(NEEDED\).*\[(.*)\]", said) == ["libc.so.6"]
        loads = subprocess.run(["readelf", "-lW", str(file)], check=True, capture_output=True, text=True).stdout
        assert re.findall(r"GNU_STACK.* (RWE|RW) ", loads) == ["RW"]
        assert re.findall(r"^ *LOAD .*\bRWE\b", loads, re.MULTILINE) == []


def test_the_kernel_sees_nothing_before_init(quiet_host: Path, bare_stub: Path, probe: Path, tmp_path: Path) -> None:
    """Opened and asked for its info by a host that may not start a thread or a process, nor open a file to write."""
    plugin = tmp_path / "plugin.so"
    plugin.write_bytes(add_payload(bare_stub.read_bytes(), extract_payload(probe.read_bytes())))
    mark = tmp_path / "mark"
    done = run_quiet_host(quiet_host, plugin, MARK=str(mark))
    assert (done.returncode, done.stdout) == (0, "probeprobe: descriptors left 0\n"), done.stderr
    assert not mark.exists()


@pytest.mark.parametrize(
    "deed", ["socket(1, 1, 0)", "open(path, 0101, 0600)", "pthread_create(&id, 0, thread, 0)", "fork()"]
)
def test_that_host_sees_what_a_constructor_does(quiet_host: Path, tmp_path: Path, deed: str) -> None:
    source = tmp_path / "eager.c"
    source.write_text(
        "#include <fcntl.h>\n#include <pthread.h>\n#include <sys/socket.h>\n#include <unistd.h>\n"
        f'static const char path[] = "{tmp_path}/made";\nstatic pthread_t id;\n'
        "static void *thread(void *argument) { return argument; }\n"
        f"__attribute__((constructor)) static void go(void) {{ (void)path, (void)id, (void)thread, (void){deed}; }}\n"
    )
    eager = compile_c(tmp_path / "eager.so", [source], ["-shared"])
    done = run_quiet_host(quiet_host, eager)
    assert done.returncode == 3, (done.stdout, done.stderr)
    assert not (tmp_path / "made").exists()


# ---- who may write to files ----


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_a_built_file_is_written_by_its_owner_alone(tmp_path: Path, umask: int) -> None:
    source = tmp_path / "probe.py"
    source.write_text(textwrap.dedent(SOURCE))
    command = [sys.executable, "-m", "nylon_ring_py.cli", "build-plugin", "probe.py"]
    subprocess.run(command, check=True, cwd=tmp_path, umask=umask)
    assert stat.S_IMODE((tmp_path / "probe.so").stat().st_mode) == 0o755 & ~umask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["probe.py", "probe.so"]


def test_links_at_the_output_are_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out.so"
    victim.write_bytes(b"precious")
    for points_to in (victim, tmp_path / "nowhere"):
        out.unlink(missing_ok=True)
        out.symlink_to(points_to)
        write_plugin(out, b"plugin")
        assert (out.is_symlink(), out.read_bytes()) == (False, b"plugin")
    assert victim.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.so", "victim"]


def test_the_temporary_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guessed its name, and put a link there, gets nothing written through it."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "guessed")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = tmp_path / ".out.so.guessed.tmp"
    for points_to in (victim, tmp_path / "nowhere"):
        planted.unlink(missing_ok=True)
        planted.symlink_to(points_to)
        with pytest.raises(FileExistsError):
            write_plugin(tmp_path / "out.so", b"plugin")
    assert victim.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == [planted.name, "victim"]


POOLED = """
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor
    from nylon_ring_py import Plugin

    plugin = Plugin("pooled")

    def pool():
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    plugin.handle("worker", executor=pool)(lambda req: str(os.getpid()))
"""


def test_nothing_of_a_process_pool_is_for_others(
    build_once: BuildPlugin, start_host: StartHost, tmp_path: Path
) -> None:
    """While it is at work: pipes and sockets have no names, semaphores are the owner's, there is no temporary file."""
    before = os.umask(0)
    try:
        host = start_host(env={"TMPDIR": str(tmp_path)})
        assert host.load(build_once(POOLED, "pooled")) == Status.OK
        worker = int(host.call("worker").reply.text)
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []
    shared: set[Path] = set()
    for process in (host.pid, worker):
        sockets = {line.split()[6]: line for line in Path(f"/proc/{process}/net/unix").read_text().splitlines()[1:]}
        for link in Path(f"/proc/{process}/fd").iterdir():
            what = str(link.readlink())
            assert not what.startswith("/") or what.startswith("/dev/") or int(link.name) < 3, what
            if what.startswith("socket:"):
                assert len(sockets.get(what[8:-1], "").split()) <= 7
        maps = Path(f"/proc/{process}/maps").read_text()
        shared |= {Path(name) for name in re.findall(r" (/dev/shm/.*?)(?: \(deleted\))?$", maps, re.MULTILINE)}
    assert shared
    assert {oct(path.stat().st_mode) for path in shared if path.exists()} <= {"0o100600"}


# ---- what an archive may hold ----


def archive_of(paths: dict[str, tuple[str, str]], contents: bytes) -> bytes:
    """An archive with this index, whatever it says."""
    index = "".join(f"{path}\0{offset}\0{size}\0" for path, (offset, size) in paths.items()).encode("utf-8", "replace")
    return struct.pack("<I", len(index)) + index + contents


def rebuilt(good: Path, out: Path, archive: bytes, **boot: str) -> Path:
    """The good plugin with another archive; digests are right."""
    payload = read_payload(good)
    image = add_payload(installed_stub().read_bytes(), encode_payload({**payload.boot, **boot}, {}, archive))
    out.write_bytes(image)
    return out


REFUSED_PATHS = {
    "../escaped.py": "'../escaped.py' cannot be a file's path in a plugin",
    "/tmp/escaped.py": "'/tmp/escaped.py' cannot be a file's path",
    "a\\..\\b.py": "cannot be a file's path",
    "nylon_ring_py/__init__.py": "would stand before the SDK of that name",
    "probe.py/inner": "'probe.py' is a file and a folder",
    "a/" * 40 + "b": "41 parts",
    "x" * 1100: "1100 characters",
}


def test_paths_that_init_refuses(start_host: StartHost, probe: Path, tmp_path: Path) -> None:
    source = read_payload(probe).files["probe.py"]
    host = start_host(env={"MARK": str(tmp_path / "mark")})
    for number, (path, said) in enumerate(REFUSED_PATHS.items()):
        places = {"probe.py": ("0", str(len(source))), path: (str(len(source)), "0")}
        bad = rebuilt(probe, tmp_path / f"bad{number}.so", archive_of(places, source))
        assert host.load(bad, plugin=f"bad{number}") == Status.ERR
        assert said in host.stderr_tail().rpartition("did not start:")[2]
    assert not (tmp_path / "mark").exists()
    assert host.load(probe, plugin="good") == Status.OK
    assert host.call("echo", plugin="good", body=b"x").reply.data == b"x"


def test_resources_do_not_leave_the_archive(build: BuildPlugin, start_host: StartHost, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "data.txt").write_text("data")
    (folder / "__init__.py").write_text(
        textwrap.dedent("""
        import importlib.resources, pkgutil
        from nylon_ring_py import Plugin

        plugin = Plugin("reader")

        def attempt(step):
            try:
                return repr(step())
            except (OSError, ValueError) as error:
                return type(error).__name__

        @plugin.handle("read")
        def read(req):
            root, name = importlib.resources.files(__package__), req.body.decode()
            return " ".join([
                attempt(lambda: root.joinpath(name).read_text()),
                attempt(lambda: (root / name).open().read()),
                attempt(lambda: pkgutil.get_data(__name__, name)),
            ])
    """)
    )
    host = start_host()
    assert host.load(build(folder, "reader")) == Status.OK
    assert host.call("read", body=b"data.txt").reply.text == "'data' 'data' b'data'"
    for name in ("../secret.txt", str(tmp_path / "secret.txt"), "../../etc/passwd", "/etc/passwd", "..\\secret.txt"):
        said = host.call("read", body=name.encode()).reply.text
        assert re.fullmatch(r"(FileNotFoundError|ValueError|NotADirectoryError)( \1| FileNotFoundError){2}", said), said


@pytest.mark.parametrize("key", ["python", "libpython", "core", "prefix"])
def test_a_path_of_the_boot_record_does_not_hang_on_the_working_directory(
    start_host: StartHost, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    payload = read_payload(probe)
    monkeypatch.chdir(Path(payload.boot[key]).parent)
    name = Path(payload.boot[key]).name
    host = start_host()
    bad = rebuilt(probe, tmp_path / "bad.so", pack_archive(payload.files), **{key: name})
    assert host.load(bad) == Status.ERR
    assert f"path {name} is not absolute" in host.stderr_tail()


def test_who_starts_a_host_with_more_rights_chooses_no_python(probe: Path, tmp_path: Path) -> None:
    """A host that is set-group-ID runs the recorded Python, and says so."""
    groups = [65534] if os.geteuid() == 0 else [group for group in os.getgroups() if group != os.getegid()]
    if not groups or os.statvfs(tmp_path).f_flag & os.ST_NOSUID:
        missing("a second group, and a temporary folder where set-group-ID counts")
    host = Path(shutil.copy(os.environ.get("NRHOST") or ROOT / "build/c/nrhost", tmp_path / "host"))
    os.chown(host, -1, groups[0])
    command = [str(host), "call", str(probe), "echo"]
    environment = {**os.environ, "NYLON_RING_PYTHON": "/bin/true"}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (refused.returncode, "/bin/true does not have nylon_ring_py" in refused.stderr) == (2, True), refused.stderr
    host.chmod(0o2755)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "NYLON_RING_PYTHON is ignored: this process has rights" in done.stderr


def test_the_named_python_does_not_hang_on_the_working_directory(
    start_host: StartHost, probe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(sys.executable).parent)
    host = start_host(env={"NYLON_RING_PYTHON": Path(sys.executable).name})
    assert host.load(probe) == Status.ERR
    assert "is no absolute path" in host.stderr_tail()
