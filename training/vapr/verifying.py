"""Does an edit still follow from its reference? If so it is not wrong, and must not be rejected.

A cheap check of the words always comes first, unless checks are off; a model is asked about what passes it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL.Image import Image
from pydantic import Field

from genrm.engines.contract import Engine, Prompt, Sampling
from training.engines import EngineChoice
from training.jobs.config import Section
from training.vapr.wording import says_the_same

VerifierFate = Literal["still follows from the reference", "verifier unclear"]
FOLLOWS: VerifierFate = "still follows from the reference"

_VERDICT = re.compile(r"\b(pass|fail)\b", re.IGNORECASE)
_ASK = "Reference: {reference}\nResponse: {response}\nDoes the response agree with the reference?"
_INSTRUCT = (
    " Answer with one word: Pass if everything that the response says follows from the reference or is said by it, "
    "Fail if something contradicts it or is not borne out by it."
)


class VerifierChoice(Section):
    """Who checks that an edit no longer follows from its reference."""

    kind: Literal["off", "rules", "model"] = Field("rules", description="model: the rules, then a model.")
    engine: EngineChoice = EngineChoice()
    prompt: Literal["plain", "instructed"] = Field(
        "instructed", description="plain: as the shipped base is taught; instructed: for a general model."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Edited:
    """An edit beside what it was made from."""

    question: str
    reference: str
    text: str
    images: tuple[Image, ...]


class EditVerifier:
    """Checks edits as chosen. engine: of a model, started; None without one."""

    def __init__(self, choice: VerifierChoice, engine: Engine | None) -> None:
        self._choice, self._engine = choice, engine

    async def check(self, edits: Sequence[Edited]) -> list[VerifierFate | None]:
        """Why each edit must be refused; None if it must not. Raises EngineError."""
        if self._choice.kind == "off":
            return [None] * len(edits)
        fates: list[VerifierFate | None] = [FOLLOWS if says_the_same(e.reference, e.text) else None for e in edits]
        asked = [index for index, fate in enumerate(fates) if fate is None]
        if self._engine is not None and asked:
            sampling = Sampling(temperature=0.0, max_tokens=64, labels=())
            replies = await self._engine.complete([self._prompt(edits[index]) for index in asked], sampling)
            for index, reply in zip(asked, replies, strict=True):
                fates[index] = read_verifier(reply.text)
        return fates

    def _prompt(self, edit: Edited) -> Prompt:
        tail = _ASK.format(reference=edit.reference, response=edit.text)
        if self._choice.prompt == "instructed":
            tail += _INSTRUCT
        return Prompt(system="", images=edit.images, shared=f"Question: {edit.question}\n", tail=tail)


def read_verifier(reply: str) -> VerifierFate | None:
    """What a reply says: the last pass or fail counts."""
    found = _VERDICT.findall(reply)
    if not found:
        return "verifier unclear"
    return FOLLOWS if found[-1].lower() == "pass" else None
