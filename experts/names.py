"""Phrases that responses use, and the names that a closed-vocabulary detector has for the same things."""

from collections.abc import Iterable, Mapping

from experts.lexicon import default_lexicon
from experts.phrases import clean_phrase

_RUN_TOGETHER = {"tvmonitor": "tv", "diningtable": "dining table", "pottedplant": "potted plant"}
"""Names of PASCAL VOC (Everingham et al., 2010) that no one writes in prose, and what they mean."""


class NameMap:
    """Which names of a detector a phrase stands for.

    names: the detector's own. synonyms: further phrases and the name that each stands for; they come before the
    lexicon's.
    """

    def __init__(self, names: Iterable[str], *, synonyms: Mapping[str, str] | None = None) -> None:
        self.names = frozenset(names)
        self._by_phrase: dict[str, set[str]] = {}
        for name in self.names:
            for phrase in (clean_phrase(name), _canonical(name)):
                self._by_phrase.setdefault(phrase, set()).add(name)
        for phrase, name in (synonyms or {}).items():
            if name not in self.names:
                raise ValueError(f"The synonym {phrase!r} stands for {name!r}, which the detector does not know.")
            self._by_phrase[clean_phrase(phrase)] = {name}

    def find(self, phrase: str) -> frozenset[str]:
        """The detector's names for a phrase; none if the phrase is outside its vocabulary."""
        cleaned = clean_phrase(phrase)
        return frozenset(self._by_phrase.get(cleaned) or self._by_phrase.get(_canonical(cleaned)) or ())

    @property
    def phrases(self) -> frozenset[str]:
        """Every phrase that is known without the lexicon's help."""
        return frozenset(self._by_phrase)


def _canonical(name: str) -> str:
    cleaned = clean_phrase(name.replace("_", " "))
    cleaned = _RUN_TOGETHER.get(cleaned, cleaned)
    return default_lexicon().canonical_name(cleaned) or cleaned
