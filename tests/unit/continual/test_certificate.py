import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from memo_ray.continual.certificate import KEY_ENV, canonical, sign, signing_key, verify
from memo_ray.errors import ConfigError

BODY = {"schema": "x", "document": {"id": "Übung"}, "recall": {"base": 0.25}}
Private = ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey


def pem(key: Private, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public(folder: Path, key: Private) -> str:
    path = folder / "public.pem"
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


def test_a_certificate_is_verified_with_the_signers_key(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "c.json").write_bytes(sign(BODY, key))
    assert verify(str(tmp_path / "c.json"), public(tmp_path, key)) == BODY


def test_a_changed_body_and_another_signer_are_refused(tmp_path: Path) -> None:
    key, other = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    path = tmp_path / "c.json"
    path.write_bytes(sign(BODY, key).replace(b"0.25", b"0.26"))
    with pytest.raises(ConfigError, match="do not rely on it"):
        verify(str(path), public(tmp_path, key))
    # With its own public key inside it still is not the owner's.
    path.write_bytes(sign(BODY, other))
    with pytest.raises(ConfigError, match="do not rely on it"):
        verify(str(path), public(tmp_path, key))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"certificate": {}, "signature": "?"}', "[" * 100_000])
def test_what_is_no_certificate_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ConfigError, match="is no certificate"):
        verify(str(tmp_path / "c.json"), public(tmp_path, ed25519.Ed25519PrivateKey.generate()))


def test_a_file_that_cannot_be_read_is_named_with_its_option(tmp_path: Path) -> None:
    owner = public(tmp_path, ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ConfigError, match=r"^--verify: .*gone.json: cannot be read"):
        verify(str(tmp_path / "gone.json"), owner)
    with pytest.raises(ConfigError, match=r"^--public-key: .*gone.pem: cannot be read"):
        verify(owner, str(tmp_path / "gone.pem"))


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(pem(key))
    assert signing_key(str(tmp_path / "key.pem")).private_bytes_raw() == key.private_bytes_raw()
    monkeypatch.setenv(KEY_ENV, pem(key).decode())
    assert signing_key(None).private_bytes_raw() == key.private_bytes_raw()
    monkeypatch.delenv(KEY_ENV)
    with pytest.raises(ConfigError, match="openssl genpkey"):
        signing_key(None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"nothing", "holds no private key"),
        (pem(x25519.X25519PrivateKey.generate()), "is no Ed25519 key"),
        (pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")), "is encrypted"),
    ],
)
def test_a_key_of_no_use_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        signing_key(str(tmp_path / "key.pem"))


def test_the_signed_bytes_do_not_depend_on_the_order_of_keys() -> None:
    assert canonical(BODY) == canonical(json.loads(json.dumps(dict(reversed(BODY.items())))))


def test_keys_of_a_kind_that_nobody_knows_are_one_line(tmp_path: Path) -> None:
    # Well-formed DER, with an algorithm's number (1.2.3.4) that is not given to any.
    public_key, private_key = "MA4wBQYDKgMEAwUAAQIDBA==", "MA8CAQAwBQYDKgMEBAMEAQc="
    (tmp_path / "public.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{public_key}\n-----END PUBLIC KEY-----\n")
    (tmp_path / "key.pem").write_text(f"-----BEGIN PRIVATE KEY-----\n{private_key}\n-----END PRIVATE KEY-----\n")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no public key"):
        verify(str(tmp_path / "c.json"), str(tmp_path / "public.pem"))
    with pytest.raises(ConfigError, match="holds no private key"):
        signing_key(str(tmp_path / "key.pem"))
