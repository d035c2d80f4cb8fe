"""The keys that count now: those of the settings, with the key file read again whenever it changes.

So a key is given out or taken back without a restart. A change that cannot be read leaves the keys as they were and is
logged once; only at the start it is an error.
"""

import logging
from pathlib import Path

from service.errors import StartError
from service.keys import ApiKey, KeyLimits, find_key, join_keys, read_key_file, read_key_pairs
from service.settings import Settings

_logger = logging.getLogger(__name__)
_Signature = tuple[int, int, int] | None
"""Time of the last change, size and inode of a file; None while there is none."""


class Keyring:
    """Knows whose key a caller brings. is_needed: whether a request must bring one at all.

    Raises StartError if the settings' keys cannot be read. One that holds no key at all, because the last was taken
    back, lets nobody in.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = KeyLimits(
            requests_per_minute=settings.requests_per_minute, max_concurrent=settings.max_concurrent_per_key
        )
        pairs = settings.api_keys
        self._fixed = read_key_pairs(pairs.get_secret_value(), self._limits) if pairs is not None else ()
        self._path = Path(settings.api_keys_file) if settings.api_keys_file is not None else None
        self.is_needed = pairs is not None or self._path is not None
        self._signature = self._sign()
        self._keys = self._read()

    def find(self, given: str) -> ApiKey | None:
        """The key that a caller brought; None if it counts for nothing now."""
        self._refresh()
        return find_key(self._keys, given)

    def _refresh(self) -> None:
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        try:
            self._keys = self._read()
        except StartError as error:
            _logger.error("The keys stay as they were. %s", error)
        else:
            _logger.info("The key file was read again; keys: %d.", len(self._keys))

    def _read(self) -> tuple[ApiKey, ...]:
        return join_keys(self._fixed, read_key_file(self._path, self._limits) if self._path is not None else ())

    def _sign(self) -> _Signature:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
