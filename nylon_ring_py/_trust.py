"""Whose plugins are taken: Ed25519 signatures, and the public keys they are checked against.

The core asks `refusal` where keys are given, before any of a plugin's code runs; `nylon_ring_py.build.sign` signs, and
checks files that no host has opened yet.
"""

from __future__ import annotations

import binascii
import os
import sys

from nylon_ring_py.errors import NylonRingError

__all__ = [
    "VARIABLE",
    "SignatureError",
    "check_signature",
    "no_cryptography",
    "read_keys",
    "refusal",
    "shown",
    "signed_message",
    "trusted_keys",
]

VARIABLE = "NYLON_RING_TRUSTED_KEYS"

_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_ED25519 = bytes.fromhex("302a300506032b6570032100")  # what stands before the 32 bytes of such a key (RFC 8410)
_TO_PUBLIC = "openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem"
_MAX_KEY_FILE = 1 << 20


class SignatureError(NylonRingError):
    """A plugin file is not signed by anybody who is trusted, or cannot be signed; the message says why."""


def refusal(keys: bytes, payload_sha256: bytes, signature: bytes) -> str | None:
    """Says why a plugin that is being loaded is not to be run.

    Args:
        keys: the value of `NYLON_RING_TRUSTED_KEYS`.
        payload_sha256: the digest of the plugin's payload, which is right; empty where an old stub has none.
        signature: 128 bytes as `nrpy_signature` in shim/payload.h; empty likewise.

    Returns:
        None for a plugin that one of the keys has signed, else the reason.
    """
    try:
        if not payload_sha256:
            raise SignatureError(
                f"it is not signed, and was built by a nylon_ring_py that cannot sign, and {VARIABLE} is set: "
                "build it again with --sign KEYFILE"
            )
        check_signature(read_keys(_key_text(os.fsdecode(keys))), payload_sha256, signature)
    except SignatureError as error:
        return str(error)
    return None


def read_keys(text: str, source: str = VARIABLE) -> list[bytes]:
    """Returns the Ed25519 public keys of a PEM text, 32 bytes each. Whatever stands between them is a comment.

    Args:
        text: as `openssl pkey -pubout` writes it, one key or many.
        source: where it comes from, for messages.

    Raises:
        SignatureError: there is none, one cannot be read or is of another kind, or a private key is among them.
    """
    if "PRIVATE KEY-----" in text:
        raise SignatureError(f"{source} has a private key: what checks gets the public one, made by\n    {_TO_PUBLIC}")
    keys: list[bytes] = []
    for block in text.split(_BEGIN)[1:]:
        body, found, _ = block.partition(_END)
        try:
            key = binascii.a2b_base64("".join(body.split()).encode("ascii"), strict_mode=True) if found else b""
        except ValueError:
            key = b""
        if not key.startswith(_ED25519) or len(key) != len(_ED25519) + 32:
            raise SignatureError(f"key {len(keys) + 1} of {source} is no Ed25519 public key in PEM form")
        keys.append(key[len(_ED25519) :])
    if not keys:
        raise SignatureError(f"{source} has no public key: one begins with {_BEGIN}")
    return keys


def trusted_keys() -> list[bytes] | None:
    """Returns the keys that the environment gives, None where it gives none.

    Raises:
        SignatureError: they cannot be read.
    """
    value = os.environ.get(VARIABLE)
    return None if value is None else read_keys(_key_text(value))


def signed_message(payload_sha256: bytes, file_sha256: bytes) -> bytes:
    """Returns what is signed: the digest of what is run, and that of the whole file."""
    return b"nylon-ring plugin 1\0" + payload_sha256 + file_sha256


def check_signature(keys: list[bytes], payload_sha256: bytes, signature: bytes) -> bytes:
    """Checks that one of the keys has signed a payload.

    Args:
        keys: those that are trusted.
        payload_sha256: the payload's digest.
        signature: digest of the file, public key and signature: 32, 32 and 64 bytes.

    Returns:
        The key.

    Raises:
        SignatureError: none has, or it cannot be found out.
    """
    if not any(signature):
        raise SignatureError("it is not signed: build it with --sign KEYFILE")
    file_sha256, key, proof = signature[:32], signature[32:64], signature[64:]
    if key not in keys:
        raise SignatureError(
            f"it is signed with the key {shown(key)}, which is not among those trusted: {', '.join(map(shown, keys))}"
        )
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise SignatureError(no_cryptography("checked", error)) from None
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(proof, signed_message(payload_sha256, file_sha256))
    except InvalidSignature:
        raise SignatureError(
            f"its signature is wrong: it was changed after it was signed with the key {shown(key)}"
        ) from None
    return key


def shown(key: bytes) -> str:
    """Returns a public key as its PEM form shows it, without the 16 characters that all have."""
    return binascii.b2a_base64(key, newline=False).decode()


def no_cryptography(what: str, error: ImportError) -> str:
    """Returns what to do where the library is missing."""
    return (
        f"signatures cannot be {what}: {sys.executable} has no package cryptography ({error}); install it there with\n"
        f"    {sys.executable} -m pip install 'nylon-ring-py[sign]'"
    )


def _key_text(value: str) -> str:
    if _BEGIN in value or "PRIVATE KEY-----" in value:
        return value
    if not value.startswith("/"):
        raise SignatureError(
            f"{VARIABLE}={value!r} is neither the absolute path of a file with public keys nor such keys: with it set, "
            "nothing can be trusted; unset it to load plugins that nobody signed"
        )
    try:
        with open(value, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 -- pathlib takes longer to load
            text = file.read(_MAX_KEY_FILE)
    except OSError as error:
        raise SignatureError(f"{VARIABLE}={value}: the keys cannot be read: {error.strerror}") from None
    return text
