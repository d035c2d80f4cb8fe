"""POPE (arXiv 2305.10355): does a policy say yes to objects that are not there?

Half of the questions "Is there a dog in the image?" ask for an object that is there. The other half ask for one that is
not: any one (`random`), one that is frequent (`popular`), or one that often comes with those that are there
(`adversarial`). Answers are read as POPE's own script reads them.

Ours: POPE takes the most frequent absent objects of every image as `popular`; where objects are about equally frequent
that asks for the same few each time, so we draw from the ten most frequent. For `adversarial` we add up how often an
object comes with each of those that are there.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, get_args

from experts.lexicon import default_lexicon
from training.ratios import Ratio

Sampling = Literal["random", "popular", "adversarial"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)
YesNo = Literal["yes", "no"]

_NUM_POPULAR = 10
_NO, _YES = frozenset({"No", "not", "no"}), frozenset({"Yes", "yes"})


def parse_answer(text: str) -> YesNo:
    """What POPE's script takes an answer for: of the text before the first full stop, without commas and split at
    spaces, "no" if a word is No, not or no, else "yes".
    """
    return "no" if _NO & set(_first_words(text)) else "yes"


def is_plain(text: str) -> bool:
    """Whether the script finds a yes or a no. Any other answer, an empty one too, counts as yes by default."""
    return bool((_NO | _YES) & set(_first_words(text)))


def _first_words(text: str) -> list[str]:
    return text.split(".", maxsplit=1)[0].replace(",", "").split(" ")


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """In how many images each object is, and each two objects are together."""

    images: Counter[str]
    together: Counter[tuple[str, str]]

    @classmethod
    def count(cls, images: Iterable[Collection[str]]) -> "ObjectCounts":
        """Of images, each given by the names of its objects."""
        single: Counter[str] = Counter()
        together: Counter[tuple[str, str]] = Counter()
        for names in map(set, images):
            single.update(names)
            together.update(permutations(names, 2))
        return cls(single, together)


def choose_absent(
    sampling: Sampling, present: Collection[str], counts: ObjectCounts, rng: random.Random, *, num: int = 1
) -> list[str]:
    """Up to `num` different objects that are in other images and not in this one. present: the objects that are."""
    absent = sorted(counts.images.keys() - set(present))
    rng.shuffle(absent)  # ties are broken anew for every image
    if sampling == "popular":
        absent = sorted(absent, key=lambda name: -counts.images[name])[: max(num, _NUM_POPULAR)]
        rng.shuffle(absent)
    elif sampling == "adversarial":
        absent.sort(key=lambda name: -sum(counts.together[name, other] for other in set(present)))
    return absent[:num]


def ask_for(name: str) -> str:
    """POPE's question for an object; no article before a name that is a plural."""
    form = default_lexicon().find_phrase(name)
    article = "" if form is not None and form.number != "singular" else "an " if name[:1] in "aeiou" else "a "
    return f"Is there {article}{name} in the image?"


@dataclass(frozen=True, kw_only=True, slots=True)
class PopeAnswer:
    """One answer beside the truth. image: identity of the picture. label: whether the object is there."""

    image: str
    label: YesNo
    text: str


def measure_pope(answers: Sequence[PopeAnswer]) -> dict[str, Ratio]:
    """POPE's five figures, yes being what is looked for, and how often neither yes nor no was said."""
    figures = {name: Ratio() for name in ("accuracy", "precision", "recall", "F1", "yes ratio", "neither yes nor no")}
    for answer in answers:
        said, there = parse_answer(answer.text) == "yes", answer.label == "yes"
        hit = said and there
        figures["accuracy"].add(answer.image, said == there)
        figures["precision"].add(answer.image, hit, said)
        figures["recall"].add(answer.image, hit, there)
        figures["F1"].add(answer.image, 2 * hit, said + there)
        figures["yes ratio"].add(answer.image, said)
        figures["neither yes nor no"].add(answer.image, not is_plain(answer.text))
    return figures
