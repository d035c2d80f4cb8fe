"""The keys that count now: a key file that changes, becomes unreadable, or disappears while the service runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.errors import StartError
from service.keyring import Keyring
from service.keys import hash_key
from service.settings import load_settings

KEY = "a-long-enough-key-1"
OTHER = "a-long-enough-key-2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file with the key of alice."""
    path = tmp_path / "keys.txt"
    path.write_text(f"alice:{hash_key(KEY)}\n")
    return path


def find_name(keyring: Keyring, given: str) -> str | None:
    key = keyring.find(given)
    return None if key is None else key.name


def test_without_keys_none_is_needed() -> None:
    assert not Keyring(load_settings()).is_needed


def test_keys_of_the_file_and_of_the_variable_both_count(path: Path) -> None:
    keyring = Keyring(load_settings(api_keys_file=str(path), api_keys=SecretStr(f"bob:{OTHER}")))
    assert keyring.is_needed
    assert [find_name(keyring, given) for given in (KEY, OTHER, "another")] == ["alice", "bob", None]


def test_a_line_that_is_removed_takes_its_key_back_without_a_restart(path: Path) -> None:
    keyring = Keyring(load_settings(api_keys_file=str(path)))
    path.write_text(f"bob:{hash_key(OTHER)}\ncarol:{hash_key('c' * 20)}\n")
    assert [find_name(keyring, given) for given in (KEY, OTHER)] == [None, "bob"]


def test_taking_the_last_key_back_opens_nothing(path: Path) -> None:
    keyring = Keyring(load_settings(api_keys_file=str(path)))
    path.write_text("# nobody\n")
    assert keyring.find(KEY) is None
    assert keyring.is_needed


def test_a_file_that_is_wrong_at_the_start_is_an_error(path: Path) -> None:
    path.write_text("nonsense\n")
    with pytest.raises(StartError, match="Line 1"):
        Keyring(load_settings(api_keys_file=str(path)))


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("half a li"), lambda path: path.unlink()])
def test_a_bad_change_keeps_the_last_good_keys_and_is_logged_once(
    path: Path, spoil: type, caplog: pytest.LogCaptureFixture
) -> None:
    keyring = Keyring(load_settings(api_keys_file=str(path)))
    spoil(path)
    with caplog.at_level(logging.INFO, "service"):
        assert [find_name(keyring, KEY) for _ in range(3)] == ["alice"] * 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    path.write_text(f"bob:{hash_key(OTHER)}\n")
    assert [find_name(keyring, given) for given in (KEY, OTHER)] == [None, "bob"]


def test_limits_of_the_settings_hold_for_keys_of_both_sources(path: Path) -> None:
    keyring = Keyring(
        load_settings(
            api_keys_file=str(path),
            api_keys=SecretStr(f"bob:{OTHER}"),
            requests_per_minute=5,
            max_concurrent_per_key=2,
        )
    )
    for given in (KEY, OTHER):
        key = keyring.find(given)
        assert key is not None
        assert (key.limits.requests_per_minute, key.limits.max_concurrent) == (5, 2)
