"""A certificate that a document was forgotten: a JSON body and an Ed25519 signature over its canonical bytes.

The private key comes from a file or from an environment variable and is kept nowhere. Whoever has the public key can
verify the file anywhere; changing one character of the body breaks it.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo_ray.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_ENV = "MEMO_SIGNING_KEY"
MAKE_KEY = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"


def signing_key(path: str | None) -> Ed25519PrivateKey:
    """The private key in the PEM file at `path`, else in the variable MEMO_SIGNING_KEY. Raises ConfigError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    where = path or KEY_ENV
    if path:
        pem = read(path, "--key")
    elif os.environ.get(KEY_ENV):
        pem = os.environ[KEY_ENV].encode()
    else:
        raise ConfigError(f"--key: name the file of the key that signs the certificate, or set {KEY_ENV}; {MAKE_KEY}")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigError(f"{where}: the key is encrypted; give it without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{where}: holds no private key in PEM; {MAKE_KEY}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{where}: is no Ed25519 key; {MAKE_KEY}")
    return key


def sign(body: dict[str, Any], key: Ed25519PrivateKey) -> bytes:
    """The certificate's file: the body, its signature and the public key that goes with it."""
    signed = {
        "certificate": body,
        "signature": base64.b64encode(key.sign(canonical(body))).decode(),
        "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
    }
    return (json.dumps(signed, indent=1, ensure_ascii=False) + "\n").encode()


def verify(certificate: str, public_key: str) -> dict[str, Any]:
    """The body of the file `certificate`, signed by whom the PEM file `public_key` belongs to.

    The key in the certificate itself proves nothing and is not looked at. Raises ConfigError for what was changed,
    was signed by another key, or is no certificate.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem, content = read(public_key, "--public-key"), read(certificate, "--verify")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{public_key}: holds no public key; `openssl pkey -in key.pem -pubout` prints it") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{public_key}: is no Ed25519 key; give the one that belongs to the signing key")
    try:
        signed = json.loads(content)
        body, signature = signed["certificate"], base64.b64decode(signed["signature"], validate=True)
        key.verify(signature, canonical(body))
    except InvalidSignature:
        raise ConfigError(f"{certificate}: is not what the owner of {public_key} signed; do not rely on it") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f"{certificate}: is no certificate of `memo forget`") from None
    return body


def canonical(body: dict[str, Any]) -> bytes:
    """The bytes that are signed: JSON with sorted keys, without white space, in ASCII."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read(path: str, option: str) -> bytes:
    """A file's content. Raises ConfigError naming the option that named it."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {path}: cannot be read ({error.strerror})") from None
