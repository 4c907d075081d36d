"""Signed plugins: who is taken where keys are given, and that nothing of the others is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import BuildPlugin, StartHost, build_plugin
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hosts.environments import compile_c, installed_stub, make_environment
from nrhost import Status

from nylon_ring_py.build.elf import add_payload, payload_place
from nylon_ring_py.build.payload import SIGNATURE_PLACE, SIGNATURE_SIZE, encode_payload, pack_archive, read_payload
from nylon_ring_py.build.sign import read_private_key, sign_image

pytestmark = pytest.mark.long

SOURCE = """
    import os
    from nylon_ring_py import Plugin

    if "MARK" in os.environ:
        open(os.environ["MARK"], "a").close()
    plugin = Plugin("probe", workers=1)
    plugin.handle("echo")(lambda req: req.body)
"""


@dataclass(frozen=True)
class Signer:
    """Somebody with a pair of keys in files, as openssl would write them."""

    private: Path
    public: Path


def make_signer(folder: Path, name: str) -> Signer:
    key = Ed25519PrivateKey.generate()
    signer = Signer(folder / f"{name}.pem", folder / f"{name}.pub.pem")
    signer.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    signer.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return signer


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("alice"), "alice")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("mallory"), "mallory")


@pytest.fixture(scope="module")
def unsigned(build_once: BuildPlugin) -> Path:
    return build_once(SOURCE, "unsigned")


@pytest.fixture(scope="module")
def signed(build_once: BuildPlugin, alice: Signer) -> Path:
    return build_once(SOURCE, "signed", "--sign", str(alice.private))


@pytest.fixture
def refused(start_host: StartHost, tmp_path: Path) -> Callable[[Path, str], str]:
    """refused(plugin, keys): what a host with these keys says; none of the plugin's code was run."""

    def run(plugin: Path, keys: str) -> str:
        mark = tmp_path / "mark"
        host = start_host(env={"NYLON_RING_TRUSTED_KEYS": keys, "MARK": str(mark)})
        assert host.load(plugin) == Status.ERR
        assert not mark.exists()
        assert "Traceback" not in host.stderr_tail()
        return host.stderr_tail()

    return run


# ---- taken ----


def test_a_signed_plugin_runs_with_and_without_keys(start_host: StartHost, signed: Path, alice: Signer) -> None:
    host = start_host()
    assert host.load(signed) == Status.OK
    assert host.call("echo", body=b"x").reply.data == b"x"
    host.unload()
    host.setenv("NYLON_RING_TRUSTED_KEYS", str(alice.public))  # looked at on each load
    assert host.load(signed) == Status.OK
    assert host.call("echo", body=b"x").reply.data == b"x"


def test_keys_in_the_variable_itself_and_several_in_a_file(
    start_host: StartHost, signed: Path, alice: Signer, mallory: Signer, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text(f"# mallory\n{mallory.public.read_text()}\n# alice\n{alice.public.read_text()}")
    for keys in (alice.public.read_text(), str(both)):
        host = start_host(env={"NYLON_RING_TRUSTED_KEYS": keys})
        assert host.load(signed) == Status.OK
        assert host.call("echo", body=b"x").reply.data == b"x"


def test_a_stripped_file_is_signed_afterwards(
    start_host: StartHost, unsigned: Path, alice: Signer, tmp_path: Path
) -> None:
    stripped = tmp_path / "stripped.so"
    shutil.copy(unsigned, stripped)
    subprocess.run(["strip", "-s", stripped], check=True)
    cli = [sys.executable, "-m", "nylon_ring_py.cli"]
    subprocess.run([*cli, "sign", stripped, alice.private], check=True, cwd=tmp_path)
    subprocess.run([*cli, "verify", stripped, "--keys", alice.public], check=True, cwd=tmp_path)
    host = start_host(env={"NYLON_RING_TRUSTED_KEYS": str(alice.public)})
    assert host.load(stripped) == Status.OK


# ---- refused ----

Refused = Callable[[Path, str], str]


def test_a_plugin_that_nobody_signed(refused: Refused, unsigned: Path, alice: Signer) -> None:
    said = refused(unsigned, str(alice.public))
    assert "it is not signed, and NYLON_RING_TRUSTED_KEYS is set: build it with --sign KEYFILE" in said


def test_a_plugin_that_somebody_else_signed(refused: Refused, signed: Path, mallory: Signer) -> None:
    assert "which is not among those trusted" in refused(signed, str(mallory.public))


def test_a_payload_that_was_changed(refused: Refused, signed: Path, alice: Signer, tmp_path: Path) -> None:
    """With its digest made right again, and the signature left in its place."""
    payload = read_payload(signed)
    files = {**payload.files, "probe.py": b"changed", "probe.pyc": b""}
    image = bytearray(
        add_payload(installed_stub().read_bytes(), encode_payload(payload.boot, payload.manifest, pack_archive(files)))
    )
    start = payload_place(bytes(image))[0] + SIGNATURE_PLACE
    image[start : start + SIGNATURE_SIZE] = payload.signature
    changed = tmp_path / "changed.so"
    changed.write_bytes(image)
    assert "its signature is wrong: it was changed after it was signed" in refused(changed, str(alice.public))


def test_each_part_of_a_signature_counts(start_host: StartHost, signed: Path, alice: Signer, tmp_path: Path) -> None:
    image = signed.read_bytes()
    start = payload_place(image)[0] + SIGNATURE_PLACE
    host = start_host(env={"NYLON_RING_TRUSTED_KEYS": str(alice.public), "MARK": str(tmp_path / "mark")})
    for at in (0, 31, 32, 63, 64, 127):
        changed = bytearray(image)
        changed[start + at] ^= 1
        plugin = tmp_path / f"changed{at}.so"
        plugin.write_bytes(changed)
        assert host.load(plugin, plugin=f"changed{at}") == Status.ERR
        said = host.stderr_tail().rpartition("did not start:")[2]
        assert ("which is not among those trusted" if at in (32, 63) else "its signature is wrong") in said
    assert not (tmp_path / "mark").exists()


def test_an_unsigned_boot_record_leads_nowhere(refused: Refused, unsigned: Path, alice: Signer, tmp_path: Path) -> None:
    """The library it names in libpython's place is not opened."""
    source = tmp_path / "evil.c"
    source.write_text(
        textwrap.dedent(f"""
        #include <fcntl.h>
        __attribute__((constructor)) static void run(void) {{ (void)open("{tmp_path}/mark", O_CREAT, 0600); }}
    """)
    )
    evil = compile_c(tmp_path / "evil.so", [source], ["-shared"])
    payload = read_payload(unsigned)
    boot = {**payload.boot, "libpython": str(evil)}
    bad = tmp_path / "bad.so"
    bad.write_bytes(add_payload(installed_stub().read_bytes(), encode_payload(boot, {}, pack_archive(payload.files))))
    assert "it is not signed" in refused(bad, str(alice.public))


NO_KEYS = {
    "": "is neither the absolute path of a file with public keys nor such keys",
    "keys.pem": "is neither the absolute path",
    "/nowhere/keys.pem": "the keys cannot be read: No such file or directory",
    "/dev/null": "has no public key",
    "/": "the keys cannot be read: Is a directory",
    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----": "key 1 of NYLON_RING_TRUSTED_KEYS is no Ed25519",
    "-----BEGIN PUBLIC KEY-----\nAAAA": "key 1 of NYLON_RING_TRUSTED_KEYS is no Ed25519",
}


def test_keys_that_cannot_be_read_refuse_everything(start_host: StartHost, signed: Path, tmp_path: Path) -> None:
    host = start_host(env={"MARK": str(tmp_path / "mark")})
    for number, (keys, said) in enumerate(NO_KEYS.items()):
        host.setenv("NYLON_RING_TRUSTED_KEYS", keys)
        assert host.load(signed, plugin=f"plugin{number}") == Status.ERR
        assert said in host.stderr_tail().rpartition("did not start:")[2]
    assert not (tmp_path / "mark").exists()


def test_a_private_key_is_not_taken_for_a_public_one(refused: Refused, signed: Path, alice: Signer) -> None:
    said = refused(signed, str(alice.private))
    assert "has a private key" in said
    assert alice.private.read_text().splitlines()[1] not in said


def test_an_environment_without_the_library(refused: Refused, alice: Signer, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "venv")
    options = ("--python", str(environment.python), "--sign", str(alice.private))
    plugin = build_plugin(SOURCE, tmp_path / "plugin.so", *options)
    said = refused(plugin, str(alice.public))
    assert f"{environment.python} has no package cryptography" in said
    assert "pip install 'nylon-ring-py[sign]'" in said


def test_a_refusal_leaves_the_others_alone(start_host: StartHost, unsigned: Path, signed: Path, alice: Signer) -> None:
    host = start_host()
    assert host.load(unsigned, plugin="early") == Status.OK
    host.setenv("NYLON_RING_TRUSTED_KEYS", str(alice.public))
    assert host.load(unsigned, plugin="late") == Status.ERR
    assert host.load(signed, plugin="signed") == Status.OK
    for name in ("early", "signed"):
        assert host.call("echo", plugin=name, body=b"x").reply.data == b"x"


def test_the_same_key_gives_the_same_bytes(signed: Path, unsigned: Path, alice: Signer) -> None:
    again = sign_image(signed.read_bytes(), read_private_key(alice.private))
    assert again == signed.read_bytes()
    assert again != sign_image(unsigned.read_bytes(), read_private_key(alice.private))  # their names differ
