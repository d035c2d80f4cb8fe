"""API keys: what an operator writes down about them, and whose key a caller brings.

A key is kept as its SHA-256 only. That is enough, and no slow hash is needed, because keys are random and long
(`create_key`), not chosen by people. What a key's limits mean is `service.quota`'s business.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.errors import StartError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_KEY = re.compile(r"[!-~]{16,}")
"""What may stand in a header, long enough not to be guessed."""
_OPTIONS = ("requests_per_minute", "max_concurrent")
_FORM = "name:sha256-hex, then options such as :requests_per_minute=60:max_concurrent=4"
_KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class KeyLimits:
    """How much one key may ask for; None is no limit."""

    requests_per_minute: int | None = None
    max_concurrent: int | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One key. name: who it was given to, for logs. digest: SHA-256 of the key, 64 hexadecimal digits in lower case."""

    name: str
    digest: str
    limits: KeyLimits


def create_key() -> str:
    """A fresh random key, 256 bits."""
    return f"genrm-{secrets.token_urlsafe(_KEY_BYTES)}"


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_name(name: str) -> str:
    """`name` if it can be a key's; otherwise StartError."""
    if not _NAME.fullmatch(name):
        raise StartError(f"A key's name is {name[:80]!r}; 1 to 64 letters, digits, '.', '_' and '-' are allowed.")
    return name


def find_key(keys: Iterable[ApiKey], given: str) -> ApiKey | None:
    """The key that a caller brought; None if it is none of `keys`.

    All keys are compared, each in constant time, so that the time taken tells nothing about any.
    """
    digest = hash_key(given)
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def read_key_file(path: Path, defaults: KeyLimits) -> tuple[ApiKey, ...]:
    """The keys of a file, one a line; empty lines and lines that begin with `#` count for nothing.

    defaults: limits of a key whose line does not say otherwise. Raises StartError that names the line by its number
    and never repeats it: someone may have pasted a key.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise StartError(
            f"The key file {path} cannot be read ({error.strerror}). Correct GENRM_API_KEYS_FILE, or the file's "
            "permissions."
        ) from None
    except UnicodeDecodeError:
        raise StartError(f"The key file {path} is not text in UTF-8. Each line is {_FORM}.") from None
    lines = ((f"Line {number} of {path}", line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return _check_different(
        (where, _read_line(where, line, defaults)) for where, line in lines if line and not line.startswith("#")
    )


def read_key_pairs(pairs: str, limits: KeyLimits) -> tuple[ApiKey, ...]:
    """The keys of `name:key,name:key`. Raises StartError that counts the pairs and never repeats one."""
    numbered = ((f"Pair {number} of GENRM_API_KEYS", pair) for number, pair in enumerate(pairs.split(","), 1))
    return _check_different((where, _read_pair(where, pair.strip(), limits)) for where, pair in numbered)


def join_keys(*groups: Sequence[ApiKey]) -> tuple[ApiKey, ...]:
    """The keys of several sources together. Raises StartError if a name or a key is in two of them."""
    return _check_different(
        (f"The key {key.name!r} of GENRM_API_KEYS and GENRM_API_KEYS_FILE", key) for group in groups for key in group
    )


def _read_line(where: str, line: str, defaults: KeyLimits) -> ApiKey:
    name, _, rest = line.partition(":")
    digest, *options = (part.strip() for part in rest.split(":"))
    if not _NAME.fullmatch(name) or not _DIGEST.fullmatch(digest):
        raise StartError(f"{where} is not a key; a line is {_FORM}. Make one with 'vl-genrm keys new NAME'.")
    return ApiKey(name=name, digest=digest.lower(), limits=replace(defaults, **dict(_read_options(where, options))))


def _read_options(where: str, options: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    for option in options:
        name, _, value = option.partition("=")
        is_number = value.isascii() and value.isdecimal() and int(value) > 0
        if name not in _OPTIONS or not (is_number or value == "none"):
            raise StartError(
                f"{where} has an option that is not known; {' and '.join(_OPTIONS)} are, each with '=' and a whole "
                "number above 0, or 'none'. Correct or remove it."
            )
        yield name, int(value) if is_number else None


def _read_pair(where: str, pair: str, limits: KeyLimits) -> ApiKey:
    name, _, key = pair.partition(":")
    if not _NAME.fullmatch(name) or not _KEY.fullmatch(key):
        raise StartError(
            f"{where} is not a key; write name:key, with commas between several. A name has letters, digits, '.', '_' "
            "and '-'; a key has at least 16 characters, of ASCII and without spaces. Make one with 'vl-genrm keys new "
            "NAME'."
        )
    return ApiKey(name=name, digest=hash_key(key), limits=limits)


def _check_different(keys: Iterable[tuple[str, ApiKey]]) -> tuple[ApiKey, ...]:
    """The keys, each with where it stands. Raises StartError if two have one name, or are one key."""
    seen: dict[str, ApiKey] = {}
    for where, key in keys:
        if key.name in seen or any(key.digest == other.digest for other in seen.values()):
            raise StartError(
                f"{where} repeats the name or the key of an earlier one. Give every key a name of its own."
            )
        seen[key.name] = key
    return tuple(seen.values())
