"""A question about a scene with one right and one wrong answer, and the facts that decide between them.

The wrong answer is a targeted edit of the right one (the kinds of edit follow SugarCrepe: object, attribute,
relation, count, swap, addition, and existence): same template, same length up to a word or two, exactly one thing
made false. What differs is kept as two short *claims*, and what the picture says about them as *look-ups* and a
*finding*, so that a critique can be written claim by claim.

Not here: which question kinds there are (`pocket.questions`) and how the critique is worded (`pocket.critiques`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np

from pocket.scenes import Scene
from pocket.vocabulary import NUMBER_WORDS, Kind

T = TypeVar("T")


class Group(StrEnum):
    """The three groups of VL-RewardBench."""

    GENERAL = "general"
    HALLUCINATION = "hallucination"
    REASONING = "reasoning"


class ErrorKind(StrEnum):
    """What was made false in the wrong answer."""

    OBJECT = "object"
    ATTRIBUTE = "attribute"
    RELATION = "relation"
    COUNT = "count"
    EXISTENCE = "existence"
    ADDITION = "addition"
    SWAP = "swap"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """One question, its right and its wrong answer, and why."""

    question: str
    right: str
    wrong: str
    error_kind: ErrorKind
    right_claim: str
    """What the right answer says where the two differ, in few words; it is also what the picture shows."""
    wrong_claim: str
    facts: tuple[str, ...]
    """Look-ups in the picture that decide, e.g. "dog: 1 upper left, 2 lower center" or "bus: none"."""
    replaces_object: bool = False
    """The two answers name different objects: then facts are those of the right and of the wrong one, in this order."""


def look_up(scene: Scene, name: str) -> str:
    """Where the objects of a kind are, numbered in reading order: "dog: 1 upper left, 2 lower center", or "dog:
    none".
    """
    found = scene.of_kind(name)
    return f"{name}: " + (", ".join(f"{i} {o.place}" for i, o in enumerate(found, 1)) or "none")


def look_up_category(scene: Scene, category: str) -> str:
    """The objects of a super-category, numbered in reading order: "animals: 1 dog upper left, 2 cat middle right"."""
    found = scene.of_category(category)
    return f"{category}: " + (", ".join(f"{i} {o.kind.name} {o.place}" for i, o in enumerate(found, 1)) or "none")


def look_up_mats(scene: Scene, name: str) -> str:
    """The mats under the objects of a kind, in reading order: "dog: red mat", "dog: no mat, blue mat", "dog: none"."""
    found = scene.of_kind(name)
    return f"{name}: " + (", ".join(f"{o.mat or 'no'} mat" for o in found) or "none")


def count_phrase(kind: Kind, number: int) -> str:
    """How many of a kind, in words: "three dogs", "one dog", "no dogs"."""
    if number == 0:
        return f"no {kind.plural}"
    return f"{NUMBER_WORDS[number]} {kind.name if number == 1 else kind.plural}"


def category_phrase(category: str, number: int) -> str:
    """How many of a super-category, in words: "three animals", "one animal", "no foods"."""
    if number == 1 and category not in ("electronics", "furniture"):
        return "one " + (category[:-3] + "y" if category.endswith("ies") else category[:-1])
    return f"{NUMBER_WORDS[number] if number else 'no'} {category}"


def join_words(phrases: list[str]) -> str:
    """A list in words: "a dog, a cat and a bus"."""
    if len(phrases) == 1:
        return phrases[0]
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


def sentence(text: str) -> str:
    """The text as a sentence: first letter a capital, a full stop behind."""
    return text[0].upper() + text[1:] + "."


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One item at random; items must not be empty."""
    return items[int(rng.integers(len(items)))]


def absent_kind(scene: Scene, rng: np.random.Generator, *, like: Kind | None = None) -> Kind:
    """A kind the scene does not hold; half the time one of the super-category of `like`, if there is one."""
    near = tuple(kind for kind in scene.absent if like is not None and kind.category == like.category)
    return pick(rng, near if near and rng.random() < 0.5 else scene.absent)
