"""Which candidates pass: rules for what rules can tell, a verifier with the reference in view for the rest.

What repeats the reference word for word passes. Rules also see to the criterion of a clear answer: to a question for
yes or no, or with options, a candidate without one fails, and so does one whose answer is not the reference's. Of the
others the verifier says Pass or Fail, by four criteria (logical entailment, detail completeness, no contradiction,
instruction adherence). A verdict that cannot be read is neither: such a candidate is in no pair.
"""

import re
from collections.abc import Sequence
from typing import Literal

from genrm.engines.contract import Engine, Sampling
from training.ipa.asking import Line, Loaded, complete
from training.ipa.candidates import answers_of, candidates_of, key_of
from training.ipa.conversion import read_clear_answer
from training.ipa.items import Item
from training.ipa.prompts import ask_verification
from training.ipa.settings import IpaConfig

Finding = Literal["pass", "fail", "no clear answer", "another answer", "unreadable"]
"""All but the first and the last are ways to fail."""
FAILED: tuple[Finding, ...] = ("fail", "no clear answer", "another answer")

_RESULT = re.compile(r"\bresult\W{0,4}(pass|fail)\b", re.IGNORECASE)
_BARE = re.compile(r"\W*(pass|fail)(?:ed|es|s)?\b", re.IGNORECASE)


async def verify(
    engine: Engine, shard: Sequence[Loaded], told: tuple[Line, ...], seed: int, *, config: IpaConfig
) -> dict[str, dict[str, Finding]]:
    """Per item the finding about each candidate, by its key. told: the generators' lines, then the reviser's."""
    *sampled, revised = told
    found: dict[str, dict[str, Finding]] = {item.id: {} for item, _ in shard}
    asked = []
    for item, images in shard:
        for candidate in candidates_of(answers_of(item.id, sampled, revised)):
            by_rule = check_by_rule(item, candidate.text)
            if by_rule is not None:
                found[item.id][candidate.key] = by_rule
            else:
                asked.append((item, images, candidate))
    completions = await complete(
        engine,
        [
            ask_verification(config.prompts, images, item.question, item.reference, candidate.text)
            for item, images, candidate in asked
        ],
        Sampling(temperature=0.0, seed=seed, max_tokens=config.verification.max_tokens, labels=()),
    )
    for (item, _, candidate), completion in zip(asked, completions, strict=True):
        text = "" if completion is None or completion.finish_reason == "length" else completion.text
        found[item.id][candidate.key] = read_finding(text)
    return found


def check_by_rule(item: Item, text: str) -> Finding | None:
    """What a rule says of a response; None if the verifier has to say."""
    if key_of(text) == key_of(item.reference):
        return "pass"
    wanted = read_clear_answer(item.reference, item.form, item.options)
    if wanted is None:
        return None
    given = read_clear_answer(text, item.form, item.options)
    if given is None:
        return "no clear answer"
    return None if given == wanted else "another answer"


def read_finding(text: str) -> Finding:
    """The last result that a verifier names, or the word that it begins with if it names none."""
    results = _RESULT.findall(text) or ([bare.group(1)] if (bare := _BARE.match(text)) else [])
    if not results:
        return "unreadable"
    return "pass" if results[-1].lower() == "pass" else "fail"
