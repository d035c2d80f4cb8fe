"""Keeps a set of pairs from being solved without the image: words must be as frequent in chosen as in rejected texts.

A linear classifier of bags of words learns from the differences chosen − rejected. If these add up to zero over the
set, the gradient of its loss at zero weights is zero, and as the loss is convex nothing better than chance can be
learned. So this sum, the `Ledger`, is kept small twice: of several candidates the one is taken that leaves it smallest,
and at the end pairs are dropped that enlarge it most, until the classifiers of the card are near one half or too many
are gone. Differences of length are features like words. Before that, answers that begin with yes and with no are made
equally many.

Ours; VaPR does not say how its set was kept from shortcuts. A classifier that reads the question too, or one that is
not linear, may still find some.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import Field

from training.jobs.config import Section
from training.preferences.card import blind_classifiers
from training.statistics import Estimate
from training.vapr.kinds import read_yes_no

_WORD = re.compile(r"\w\w+")
_CHARACTERS_PER_WORD = 5.0
_MOST_STEPS = 40
"""How often the classifiers are fitted while pairs are dropped, at most."""

Difference = dict[str, float]


class Balance(Section):
    """When pairs are dropped at the end."""

    max_accuracy: float = Field(0.52, ge=0.5, le=1, description="Goal for both blind classifiers; 1 drops nothing.")
    max_dropped: float = Field(0.4, ge=0, le=1, description="Share of pairs dropped for it at most.")


def describe_difference(chosen: str, rejected: str) -> Difference:
    """What a blind classifier sees of a pair: words and word pairs, chosen − rejected, and the lengths."""
    counts: Counter[str] = Counter(_grams(chosen))
    counts.subtract(_grams(rejected))
    difference: Difference = {gram: number for gram, number in counts.items() if number}
    longer = len(chosen.split()) - len(rejected.split())
    characters = (len(chosen) - len(rejected)) / _CHARACTERS_PER_WORD
    return difference | {name: v for name, v in (("#words", float(longer)), ("#characters", characters)) if v}


def _grams(text: str) -> list[str]:
    found = _WORD.findall(text.lower())
    return [*found, *(f"{a} {b}" for a, b in pairwise(found))]


class Ledger:
    """The sum of the differences of all pairs so far."""

    def __init__(self) -> None:
        self._sum: Counter[str] = Counter()

    def cost(self, difference: Difference) -> float:
        """How much the squared length of the sum grows by a pair; negative if the pair evens it."""
        return sum(value * (2 * self._sum[name] + value) for name, value in difference.items())

    def add(self, difference: Difference, *, times: int = 1) -> None:
        """Count a pair. times: −1 takes it back."""
        for name, value in difference.items():
            self._sum[name] += times * value  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True, slots=True)
class Balanced:
    """Which pairs to drop, and the blind classifiers before and after."""

    dropped: frozenset[int]
    before: dict[str, Estimate]
    after: dict[str, Estimate]


def choose_dropped(rows: Sequence[Mapping[str, Any]], settings: Balance, *, seed: int) -> Balanced:
    """The pairs that must go. rows: with id, chosen and rejected as texts."""
    before = blind_classifiers(rows, seed=seed)
    if not rows or settings.max_accuracy == 1:
        return Balanced(dropped=frozenset(), before=before, after=before)
    remover = _Remover(rows)
    most = int(settings.max_dropped * len(rows))
    remover.drop_any(*_find_surplus(rows), most=most)
    after = _measure(rows, remover.dropped, seed=seed) if remover.dropped else before
    step = max(1, len(rows) // _MOST_STEPS)
    while after and len(remover.dropped) < most and not _is_met(after, settings):
        if not remover.drop(min(step, most - len(remover.dropped))):
            break  # what is left above the goal is chance, or nothing that this can mend
        after = _measure(rows, remover.dropped, seed=seed)
    return Balanced(dropped=frozenset(remover.dropped), before=before, after=after)


def _measure(rows: Sequence[Mapping[str, Any]], dropped: Collection[int], *, seed: int) -> dict[str, Estimate]:
    return blind_classifiers([row for index, row in enumerate(rows) if index not in dropped], seed=seed)


def _find_surplus(rows: Sequence[Mapping[str, Any]]) -> tuple[list[int], int]:
    """The pairs whose chosen answer begins with the more frequent of yes and no, and how many there are too many."""
    words = [read_yes_no(row["chosen"]) for row in rows]
    surplus = words.count("yes") - words.count("no")
    word = "yes" if surplus > 0 else "no"
    return [index for index, each in enumerate(words) if each == word], abs(surplus)


def _is_met(found: Mapping[str, Estimate], settings: Balance) -> bool:
    return all(estimate["value"] <= settings.max_accuracy for estimate in found.values())


class _Remover:
    """Drops pairs one by one, each time the one that shortens the sum of the differences most.

    Words and lengths are looked at apart, and each only while its sum is longer than that of as many pairs would be
    whose chosen answer was drawn by a coin: below that there is nothing left to learn.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        from sklearn.feature_extraction import DictVectorizer

        vectorizer = DictVectorizer(sparse=True)
        differences = [describe_difference(row["chosen"], row["rejected"]) for row in rows]
        matrix = vectorizer.fit_transform(differences)
        is_length = np.array([name.startswith("#") for name in vectorizer.get_feature_names_out()], dtype=bool)
        self._parts = [_Part(matrix[:, np.flatnonzero(chosen)]) for chosen in (~is_length, is_length)]
        self.dropped: set[int] = set()

    def drop(self, number: int) -> int:
        """Drop this many pairs, or fewer if the sums are short enough; how many were dropped."""
        num_before = len(self.dropped)
        while len(self.dropped) - num_before < number:
            gains = self._gains([part for part in self._parts if part.is_long])
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            self._drop_one(best)
        return len(self.dropped) - num_before

    def drop_any(self, among: Sequence[int], number: int, *, most: int) -> None:
        """Drop this many of some pairs, whether or not that shortens the sum; `most` of all pairs may be dropped."""
        for _ in range(min(number, most - len(self.dropped))):
            gains = self._gains(self._parts)
            self._drop_one(max(among, key=lambda index: gains[index]))

    def _gains(self, parts: Sequence["_Part"]) -> np.ndarray:
        """By how much each pair's going shortens the sums (squared); minus infinity for those that are gone."""
        gains: np.ndarray = np.zeros(self._parts[0].matrix.shape[0])
        for part in parts:
            gains += 2 * (part.matrix @ part.sum) - part.squares
        gains[list(self.dropped)] = -np.inf
        return gains

    def _drop_one(self, index: int) -> None:
        self.dropped.add(index)
        for part in self._parts:
            part.drop(index)


class _Part:
    """Some features of all pairs. matrix: sparse, pairs × features."""

    def __init__(self, matrix: Any) -> None:  # noqa: ANN401 - scipy has no types
        self.matrix = matrix.tocsr()
        self.sum = np.asarray(matrix.sum(axis=0)).ravel()
        self.squares = np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel()
        self._by_chance = float(self.squares.sum())

    @property
    def is_long(self) -> bool:
        """Whether the sum is longer than chance makes it."""
        return float(self.sum @ self.sum) > self._by_chance

    def drop(self, index: int) -> None:
        """Take a pair out of the sum."""
        self.sum -= self.matrix[index].toarray().ravel()
        self._by_chance -= self.squares[index]
