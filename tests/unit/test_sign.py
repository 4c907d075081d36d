"""Signing and verifying whole files, without any host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from build_fixtures import REAL_STUB
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from nylon_ring_py._trust import SignatureError, read_keys, shown
from nylon_ring_py.build.elf import add_payload, payload_place
from nylon_ring_py.build.errors import BuildError
from nylon_ring_py.build.payload import SIGNATURE_PLACE, encode_payload, pack_archive
from nylon_ring_py.build.sign import read_private_key, sign_image, verify_plugin
from nylon_ring_py.cli.main import main

# The first key of RFC 8032, 7.1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


@pytest.fixture(scope="module")
def image() -> bytes:
    payload = encode_payload({"name": "plug"}, {"format": 2}, pack_archive({"plug.py": b"x = 1\n"}))
    return add_payload(REAL_STUB.read_bytes(), payload)


@pytest.fixture(scope="module")
def signed(image: bytes) -> bytes:
    return sign_image(image, SECRET)


def pem(key: object) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()  # type: ignore[attr-defined, no-any-return]


def test_a_signed_file_is_verified(image: bytes, signed: bytes) -> None:
    assert verify_plugin(signed, [bytes(32), PUBLIC]) == PUBLIC
    assert len(signed) == len(image)
    assert sum(a != b for a, b in zip(image, signed, strict=True)) <= 128
    assert sign_image(signed, SECRET) == signed == sign_image(image, SECRET)


def test_an_unsigned_one_is_not(image: bytes) -> None:
    with pytest.raises(SignatureError, match="it is not signed"):
        verify_plugin(image, [PUBLIC])


def test_no_byte_of_the_file_can_be_changed(signed: bytes) -> None:
    """Of the stub's code as little as of the plugin's: every 997th byte, and those around and in the signature."""
    start = payload_place(signed)[0]
    around = range(start, start + SIGNATURE_PLACE + 132, 3)
    for at in sorted({*range(0, len(signed), 997), *around, len(signed) - 1}):
        changed = bytearray(signed)
        changed[at] ^= 0x20
        with pytest.raises((SignatureError, BuildError)):
            verify_plugin(bytes(changed), [PUBLIC])


@pytest.mark.parametrize(
    "change", [lambda image: image + b"\0", lambda image: image[:-1], lambda image: b"\x7fELF", lambda image: b""]
)
def test_no_byte_can_be_added_or_taken(signed: bytes, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises((SignatureError, BuildError)):
        verify_plugin(change(signed), [PUBLIC])


def test_the_signature_of_another_file(image: bytes, signed: bytes) -> None:
    other = add_payload(REAL_STUB.read_bytes(), encode_payload({"name": "other"}, {}, pack_archive({})))
    start, end = (payload_place(signed)[0] + SIGNATURE_PLACE + more for more in (0, 128))
    at = payload_place(other)[0] + SIGNATURE_PLACE
    with pytest.raises(SignatureError, match="its signature is wrong"):
        verify_plugin(other[:at] + signed[start:end] + other[at + 128 :], [PUBLIC])


def test_keys_are_shown_as_their_pem_shows_them() -> None:
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    assert shown(PUBLIC) in pem(key)
    assert read_keys(pem(key)) == [PUBLIC]
    assert read_keys("a comment\r\n" + pem(key).replace("\n", "\r\n") * 2 + "another") == [PUBLIC] * 2


@pytest.mark.parametrize("kind", [ed448.Ed448PrivateKey, lambda: ec.derive_private_key(7, ec.SECP256R1())])
def test_public_keys_of_another_kind(kind: object) -> None:
    made = kind.generate() if isinstance(kind, type) else kind()  # type: ignore[attr-defined, operator]
    with pytest.raises(SignatureError, match=r"key 1 of keys\.pem is no Ed25519 public key"):
        read_keys(pem(made), "keys.pem")


def test_one_bad_key_spoils_the_file() -> None:
    good = pem(Ed25519PrivateKey.from_private_bytes(SECRET))
    with pytest.raises(SignatureError, match="key 2 of"):
        read_keys(good + good.replace("MCow", "MC_w"))


def test_private_keys(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"

    def write(key: object, encryption: object = None) -> None:
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())  # type: ignore[attr-defined]
        path.write_bytes(text)

    mine = Ed25519PrivateKey.from_private_bytes(SECRET)
    write(mine)
    assert read_private_key(path) == SECRET
    write(mine, BestAvailableEncryption(b"secret"))
    with pytest.raises(SignatureError, match="has a passphrase"):
        read_private_key(path)
    write(rsa.generate_private_key(65537, 2048))
    with pytest.raises(SignatureError, match="a key of another kind: make an Ed25519 key"):
        read_private_key(path)
    for text in (b"", b"nothing", pem(mine).encode()):
        path.write_bytes(text)
        with pytest.raises(SignatureError, match="is no private key in PEM form: make one with\n    openssl genpkey"):
            read_private_key(path)


def test_the_commands(
    image: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, key, keys = tmp_path / "p.so", tmp_path / "key.pem", tmp_path / "keys.pem"
    mine = Ed25519PrivateKey.from_private_bytes(SECRET)
    key.write_bytes(mine.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys.write_text(pem(mine))
    plugin.write_bytes(image)
    monkeypatch.delenv("NYLON_RING_TRUSTED_KEYS", raising=False)
    assert main(["verify", str(plugin)]) == 1
    assert "there is nobody to trust: give --keys FILE, or set NYLON_RING_TRUSTED_KEYS" in capsys.readouterr().err
    assert main(["verify", str(plugin), "--keys", str(keys)]) == 1
    assert f"{plugin}: it is not signed" in capsys.readouterr().err
    assert main(["sign", str(plugin), str(key)]) == 0
    assert capsys.readouterr().out == f"{plugin}: signed\n"
    assert main(["verify", str(plugin), "--keys", str(keys)]) == 0
    assert capsys.readouterr().out == f"{plugin}: signed with the key {shown(PUBLIC)}, and unchanged since\n"
    monkeypatch.setenv("NYLON_RING_TRUSTED_KEYS", str(keys))
    assert main(["verify", str(plugin)]) == 0
    plugin.write_bytes(plugin.read_bytes() + b"\0")
    assert main(["verify", str(plugin)]) == 1
    assert "what surrounds the payload was changed" in capsys.readouterr().err
    assert main(["sign", str(keys), str(key)]) == 1
    assert f"{keys}: not a 64-bit little-endian ELF file" in capsys.readouterr().err
    assert main(["sign", str(plugin), str(tmp_path / "nowhere.pem")]) == 1
