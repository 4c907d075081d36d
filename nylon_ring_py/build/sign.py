"""Signs plugin files, and checks files whole before any host opens them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nylon_ring_py._trust import SignatureError, check_signature, no_cryptography, signed_message
from nylon_ring_py.build.elf import payload_place
from nylon_ring_py.build.payload import SIGNATURE_PLACE, SIGNATURE_SIZE, decode_payload

__all__ = ["read_private_key", "sign_image", "verify_plugin"]


def read_private_key(path: Path) -> bytes:
    """Returns the 32 bytes of an Ed25519 private key.

    Args:
        path: a PEM file, as `openssl genpkey -algorithm ed25519` writes it.

    Raises:
        OSError: it cannot be read.
        SignatureError: it is no such key, or one with a passphrase; or the library for it is missing.
    """
    text = path.read_bytes()
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise SignatureError(no_cryptography("made", error)) from None
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError:
        raise SignatureError(f"{path} has a passphrase: give a key without one, such as a pipe with the key") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError(f"{path} is no private key in PEM form: make one with\n    {_GENERATE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} has a key of another kind: make an Ed25519 key with\n    {_GENERATE}")
    return key.private_bytes_raw()


def sign_image(image: bytes, key: bytes) -> bytes:
    """Returns a plugin file with its signature, instead of any it had. The same key gives the same bytes.

    Args:
        image: the whole file.
        key: from `read_private_key`.

    Raises:
        BuildError: it is no plugin file.
        SignatureError: the library is missing.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise SignatureError(no_cryptography("made", error)) from None
    start, end, payload_sha256, _ = _parts(image)
    file_sha256 = _digest_without(image, start, end)
    private = Ed25519PrivateKey.from_private_bytes(key)
    proof = private.sign(signed_message(payload_sha256, file_sha256))
    return image[:start] + file_sha256 + private.public_key().public_bytes_raw() + proof + image[end:]


def verify_plugin(image: bytes, keys: list[bytes]) -> bytes:
    """Checks a whole plugin file, the code of its stub included, and runs nothing of it.

    Args:
        image: the whole file.
        keys: those that are trusted.

    Returns:
        The key that has signed it.

    Raises:
        BuildError: it is no plugin file, or damaged.
        SignatureError: nobody who is trusted has signed it, or it was changed since.
    """
    start, end, payload_sha256, signature = _parts(image)
    key = check_signature(keys, payload_sha256, signature)
    if _digest_without(image, start, end) != signature[:32]:
        raise SignatureError(
            "what surrounds the payload was changed after it was signed, as strip and patchelf do: sign it after them, "
            "with nylon-ring sign"
        )
    return key


_GENERATE = "openssl genpkey -algorithm ed25519 -out KEYFILE"


def _parts(image: bytes) -> tuple[int, int, bytes, bytes]:
    """Returns where the signature begins and ends in the file, the payload's digest, and the signature."""
    offset, size = payload_place(image)
    payload = decode_payload(image[offset : offset + size])
    start = offset + SIGNATURE_PLACE
    return start, start + SIGNATURE_SIZE, payload.sha256, payload.signature


def _digest_without(image: bytes, start: int, end: int) -> bytes:
    """Returns the digest of the file with these bytes zero."""
    hash_ = hashlib.sha256(image[:start])
    hash_.update(bytes(end - start))
    hash_.update(image[end:])
    return hash_.digest()
