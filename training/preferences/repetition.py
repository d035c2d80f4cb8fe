"""Rows that say what another row said already: the same texts about pictures that look the same.

Texts are compared by their words, pictures by 64-bit perceptual hashes, which scaling, encoding and small changes of
colour hardly touch. What is different in neither teaches nothing new, and would leak between splits.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

from PIL.Image import Image

_WORDS = re.compile(r"\w+")
_MAX_DISTANCE = 4
"""Bits of 64 in which the hashes of one picture may differ; those of two pictures differ in half of them."""

Identity = tuple[str, tuple[int, ...]]
"""What a row is known by: its texts, and the hash of each picture."""


def words_of(text: str) -> str:
    """What two texts have in common that are the same answer but for case, punctuation and spaces."""
    return " ".join(_WORDS.findall(text.lower()))


def identify(texts: Sequence[str], images: Sequence[Image]) -> Identity:
    """The identity of a row with these texts and pictures."""
    from imagehash import phash

    words = "\n".join(map(words_of, texts))
    return hashlib.blake2b(words.encode(), digest_size=8).hexdigest(), tuple(int(str(phash(i)), 16) for i in images)


class SeenRows:
    """Rows that were met. known: identities of those of an earlier run."""

    def __init__(self, known: Iterable[Identity] = ()) -> None:
        self._hashes: dict[str, list[tuple[int, ...]]] = {}
        for identity in known:
            self._remember(identity)

    def add(self, identity: Identity) -> bool:
        """Whether the row is new; if it is, it is remembered."""
        words, hashes = identity
        is_new = not any(_look_alike(hashes, others) for others in self._hashes.get(words, ()))
        if is_new:
            self._remember(identity)
        return is_new

    def _remember(self, identity: Identity) -> None:
        self._hashes.setdefault(identity[0], []).append(identity[1])


def _look_alike(ones: Sequence[int], others: Sequence[int]) -> bool:
    return len(ones) == len(others) and all(
        (one ^ other).bit_count() <= _MAX_DISTANCE for one, other in zip(ones, others, strict=True)
    )
