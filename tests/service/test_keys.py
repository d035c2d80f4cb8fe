"""API keys as an operator writes them down: files, pairs, what is refused and with which words, and who is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import StartError
from service.keys import (
    ApiKey,
    KeyLimits,
    check_name,
    create_key,
    find_key,
    hash_key,
    join_keys,
    read_key_file,
    read_key_pairs,
)

NO_LIMITS = KeyLimits()
KEY = "a-long-enough-key-1"
OTHER = "a-long-enough-key-2"


def write(folder: Path, text: str) -> Path:
    path = folder / "keys.txt"
    path.write_text(text, "utf-8")
    return path


def test_a_fresh_key_is_long_and_never_the_same() -> None:
    assert len({create_key() for _ in range(50)}) == 50
    assert len(create_key()) > 40


def test_a_key_file_gives_names_and_digests(tmp_path: Path) -> None:
    path = write(tmp_path, f"# ours\n\nalice:{hash_key(KEY)}\n  bob:{hash_key(OTHER).upper()}  \n")
    assert read_key_file(path, NO_LIMITS) == (
        ApiKey(name="alice", digest=hash_key(KEY), limits=NO_LIMITS),
        ApiKey(name="bob", digest=hash_key(OTHER), limits=NO_LIMITS),
    )


def test_a_line_overrides_the_limits_of_the_settings(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"alice:{hash_key(KEY)}:requests_per_minute=7\nbob:{hash_key(OTHER)}:max_concurrent=none:requests_per_minute=8",
    )
    alice, bob = read_key_file(path, KeyLimits(requests_per_minute=60, max_concurrent=4))
    assert alice.limits == KeyLimits(requests_per_minute=7, max_concurrent=4)
    assert bob.limits == KeyLimits(requests_per_minute=8, max_concurrent=None)


@pytest.mark.parametrize(
    "line",
    [
        f"alice:{KEY}",
        f"alice {hash_key(KEY)}",
        hash_key(KEY),
        f":{hash_key(KEY)}",
        f"al ice:{hash_key(KEY)}",
        f"alice:{hash_key(KEY)[:-1]}",
        f"alice:{hash_key(KEY)}:requests=7",
        f"alice:{hash_key(KEY)}:max_concurrent",
        f"alice:{hash_key(KEY)}:max_concurrent=0",
        f"alice:{hash_key(KEY)}:max_concurrent=-1",
        f"alice:{hash_key(KEY)}:max_concurrent=²",
        f"alice:{hash_key(KEY)}:",
    ],
)
def test_a_malformed_line_is_named_by_its_number_and_not_repeated(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, f"# first\nbob:{hash_key(OTHER)}\n{line}\n")
    with pytest.raises(StartError, match="Line 3 of ") as refusal:
        read_key_file(path, NO_LIMITS)
    assert KEY not in str(refusal.value)
    assert hash_key(KEY)[:-1] not in str(refusal.value)


@pytest.mark.parametrize("second", [f"alice:{hash_key(OTHER)}", f"bob:{hash_key(KEY)}"])
def test_a_name_or_a_key_that_comes_twice_is_refused(tmp_path: Path, second: str) -> None:
    path = write(tmp_path, f"alice:{hash_key(KEY)}\n{second}\n")
    with pytest.raises(StartError, match=r"Line 2 of .* repeats"):
        read_key_file(path, NO_LIMITS)


def test_a_file_that_cannot_be_read_is_named_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"missing\.txt cannot be read .*GENRM_API_KEYS_FILE"):
        read_key_file(tmp_path / "missing.txt", NO_LIMITS)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StartError, match="not text in UTF-8"):
        read_key_file(tmp_path / "keys.txt", NO_LIMITS)


def test_pairs_give_keys_whose_hash_alone_is_kept() -> None:
    keys = read_key_pairs(f"alice:{KEY}, bob:{OTHER}", NO_LIMITS)
    assert [(key.name, key.digest) for key in keys] == [("alice", hash_key(KEY)), ("bob", hash_key(OTHER))]
    assert KEY not in repr(keys)


@pytest.mark.parametrize(
    "pair", ["bob", "bob:short", f"b b:{OTHER}", "", "bob:with spaces in its middle", f"bob:ü{OTHER}"]
)
def test_a_malformed_pair_is_counted_and_not_repeated(pair: str) -> None:
    with pytest.raises(StartError, match="Pair 2 of GENRM_API_KEYS is not a key") as refusal:
        read_key_pairs(f"alice:{KEY},{pair}", NO_LIMITS)
    assert KEY not in str(refusal.value)
    assert OTHER not in str(refusal.value)


def test_one_name_in_two_sources_is_refused() -> None:
    group = read_key_pairs(f"alice:{KEY}", NO_LIMITS)
    with pytest.raises(StartError, match="'alice'"):
        join_keys(group, read_key_pairs(f"alice:{OTHER}", NO_LIMITS))


def test_the_owner_of_a_key_is_found_and_of_another_nobody() -> None:
    keys = read_key_pairs(f"alice:{KEY},bob:{OTHER}", NO_LIMITS)
    assert [find_key(keys, given) for given in (KEY, OTHER)] == list(keys)
    assert [find_key(keys, given) for given in (KEY.upper(), KEY[:-1], "", "ü", hash_key(KEY))] == [None] * 5


def test_every_key_is_compared_even_after_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys = read_key_pairs(f"alice:{KEY},bob:{OTHER}", NO_LIMITS)
    assert find_key(keys, KEY) == keys[0]
    assert compared == [key.digest for key in keys]


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a:b", "ü"])
def test_a_name_that_would_not_fit_in_the_file_is_refused(name: str) -> None:
    with pytest.raises(StartError, match="letters, digits"):
        check_name(name)
