"""Critiques that see what experts do not, set right and written to their end.

Dropping a critique that experts contradict keeps a judge from learning to look badly, and teaches it nothing: what is
left is what it sees already. So the first look-up that is wrong is replaced by what the experts found, and the model
goes on writing from there; the next wrong one likewise. What comes out is a critique in the model's own words but for
what it saw wrongly, learned from if the verdict it now reaches is the right one. As in DAgger (Ross et al., arXiv
1011.0686), the learner goes its own way and the expert says what should have been done where it went wrong.

Only look-ups in the form "object: places" can be set right (`training.agreement.correct_clause`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from genrm.engines.contract import Completion, Engine, Prompt, Sampling
from genrm.types import Sighting
from training.agreement import correct_clause, find_contradiction
from training.engines import EngineChoice

MAX_CORRECTIONS = 3
"""Look-ups corrected in one critique; one that is still contradicted then is left as it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A text that a model wrote behind a prompt, and what experts found in its images."""

    prompt: Prompt
    text: str
    sightings: tuple[Sighting, ...]


async def correct_drafts(engine: Engine, drafts: Sequence[Draft], sampling: Sampling) -> list[Completion | None]:
    """Each draft that experts contradict, corrected and continued; None for one that needs nothing or cannot be helped.

    sampling: how the drafts were written. Completions hold the whole text and the label's probabilities behind it. One
    engine call per round of corrections, so that a repetition with the same seed is the same.
    """
    found: list[Completion | None] = [None] * len(drafts)
    texts = {number: draft.text for number, draft in enumerate(drafts)}
    for _ in range(MAX_CORRECTIONS):
        begun = {n: prefix for n, text in texts.items() if (prefix := _begin(text, drafts[n].sightings)) is not None}
        if not begun:
            break
        completions = await engine.complete(
            [replace(drafts[n].prompt, answer_prefix=prefix) for n, prefix in begun.items()], sampling
        )
        texts = {}
        for (n, prefix), completion in zip(begun.items(), completions, strict=True):
            texts[n] = prefix + completion.text
            found[n] = replace(completion, text=texts[n])
    return found


def require_continuing(choice: EngineChoice, *, correct_by_experts: bool) -> None:
    """Raise ValueError if corrections are wanted of a model that cannot be made to go on from a given text."""
    if correct_by_experts and choice.url is not None:
        raise ValueError(
            "a model behind engine.url cannot go on from a corrected critique; set correct_by_experts to false, or "
            "run the model in this process"
        )


def _begin(text: str, sightings: Sequence[Sighting]) -> str | None:
    """The text up to its first clause that experts contradict, with that one corrected; None without such a clause, or
    if it cannot be corrected.
    """
    span = find_contradiction(text, sightings)
    if span is None:
        return None
    begin, end = span
    corrected = correct_clause(text[begin:end], sightings)
    return None if corrected is None else text[:begin] + corrected
