"""Key files: made once, for the owner's eyes, and never replaced behind the owner's back."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from mcpauth.errors import SettingsError
from mcpauth.store.keys import KeyFiles
from tests.conftest import FixedAmbient

ALGORITHMS = ["RS256", "ES256", "EdDSA"]


def test_a_secret_is_made_once_and_found_again(data_dir: Path, ambient: FixedAmbient) -> None:
    made = KeyFiles(data_dir, ambient).secret("refresh")
    assert len(bytes.fromhex(made)) == 32
    assert KeyFiles(data_dir, ambient).secret("refresh") == made
    assert KeyFiles(data_dir, ambient).secret("seal") != made


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signing_key_is_made_once_and_found_again(data_dir: Path, ambient: FixedAmbient, algorithm: str) -> None:
    def public() -> bytes:
        key = KeyFiles(data_dir, ambient).private_key(algorithm).public_key()
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    assert public() == public()


def test_the_files_are_for_the_owners_eyes_only_and_nothing_else_is_left(data_dir: Path, ambient: FixedAmbient) -> None:
    keys = KeyFiles(data_dir, ambient)
    keys.secret("jwt")
    keys.private_key("EdDSA")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()} == {
        "jwt.key": 0o600,
        "signing-eddsa.key": 0o600,
    }


@pytest.mark.parametrize("damage", [b"", b"\n", b"abc", b"\xff" * 10])
def test_a_damaged_secret_is_named_and_not_replaced(data_dir: Path, ambient: FixedAmbient, damage: bytes) -> None:
    path = data_dir / "refresh.key"
    path.write_bytes(damage)
    with pytest.raises(SettingsError, match=r"refresh\.key is damaged"):
        KeyFiles(data_dir, ambient).secret("refresh")
    assert path.read_bytes() == damage


@pytest.mark.parametrize("damage", [b"", b"abc", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_signing_key_is_named_and_not_replaced(data_dir: Path, ambient: FixedAmbient, damage: bytes) -> None:
    path = data_dir / "signing-es256.key"
    path.write_bytes(damage)
    with pytest.raises(SettingsError, match=r"signing-es256\.key is damaged"):
        KeyFiles(data_dir, ambient).private_key("ES256")
    assert path.read_bytes() == damage


def test_a_key_that_a_crash_left_unfinished_does_not_count(data_dir: Path, ambient: FixedAmbient) -> None:
    (data_dir / ".refresh.key.new").write_bytes(b"abc")
    made = KeyFiles(data_dir, ambient).secret("refresh")
    assert len(made) == 64
    assert sorted(path.name for path in data_dir.iterdir()) == ["refresh.key"]


def test_a_folder_that_cannot_be_synced_hinders_no_key(
    data_dir: Path, ambient: FixedAmbient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    keys = KeyFiles(data_dir, ambient)
    before = keys.secret("jwt")
    keys.replace_signing("HS256", ambient.now() + 60)
    assert [kept for _, kept in keys.replaced("HS256")] == [before]
    assert keys.secret("jwt") != before
