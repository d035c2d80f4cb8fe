"""Naive negatives: what VaPR is compared with. Another row's answer, half an answer, or a sentence too much.

They are easy to make and easy to tell by length and words alone, which is the point: what a policy learns from them
need not have to do with the image.
"""

import random
from collections.abc import Iterable, Sequence

from training.vapr.editors import EditRequest, Proposal
from training.vapr.wording import split_words

_LEAST_WORDS_TO_CUT = 4
_ADDED = ("There is also {}.", "{} can be seen as well.", "Next to it there is {}.")


class NaiveEditor:
    """Makes them. references: of all rows. objects: names with their articles ("a dog"), to make sentences of."""

    name = "naive"

    def __init__(self, references: Iterable[str], objects: Sequence[str]) -> None:
        self._references, self._objects = sorted(set(references)), sorted(set(objects)) or ["a person"]

    def list_kinds(self, question: str, reference: str, *, most_added_words: int) -> Sequence[str]:
        """All kinds, but an answer of few words is not cut short."""
        is_long = len(split_words(reference)) >= _LEAST_WORDS_TO_CUT
        return ("borrowed", "added sentence", *(["truncated"] if is_long else []))

    async def start(self) -> None:
        """Nothing to load."""

    async def edit(self, requests: Sequence[EditRequest]) -> list[Proposal]:
        """One text per request."""
        return [self._edit(request, random.Random(request.seed)) for request in requests]

    async def close(self) -> None:
        """Nothing to free."""

    def _edit(self, request: EditRequest, rng: random.Random) -> Proposal:
        reference = request.reference
        if request.kind == "borrowed":
            others = [text for text in rng.choices(self._references, k=8) if text != reference]
            return Proposal(texts=tuple(others[:1])) if others else Proposal(fates=("no candidate",))
        if request.kind == "truncated":
            words = reference.split()
            return Proposal(texts=(" ".join(words[: max(1, int(len(words) * rng.uniform(0.3, 0.7)))]),))
        named = rng.choice([name for name in self._objects if name not in reference] or self._objects)
        added = rng.choice(_ADDED).format(named)
        return Proposal(texts=(f"{reference} {added[:1].upper()}{added[1:]}",))
