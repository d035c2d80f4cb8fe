"""Claims as a language model reads them: it gets the text and writes a JSON list.

For texts whose wording the rules do not follow; it costs one completion per text. The model is not trusted: what is no
JSON is an error, objects outside the lexicon and words that are not in the text are dropped.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from experts.claims import Claim, ClaimsUnreadableError
from experts.lexicon import Lexicon, default_lexicon
from genrm.engines.contract import Engine, Prompt, Sampling
from genrm.prompts import neutralise

_SYSTEM = "You read texts about images and list the objects that they claim. You answer with JSON only."
_INSTRUCTIONS = """List the objects that the text says are in the image, and those that it says are not there.
Leave out objects that are only asked about, supposed, compared to or quoted. Use only these names: {names}.
One entry per name: {{"name": …, "polarity": "affirmed" or "denied", "count": how many there are by the text, or null,
"mention": the words that stand for it in the text}}. Answer with a JSON list; [] if there are none.
"""
_MAX_LISTS = 20
"""Opening brackets that are tried as the beginning of the list."""


class EngineExtractor:
    """Asks a model for the claims of a text. engine: started by the caller. max_tokens: of the answer."""

    def __init__(self, engine: Engine, lexicon: Lexicon | None = None, *, max_tokens: int = 1024) -> None:
        self._engine = engine
        self._lexicon = lexicon or default_lexicon()
        self._sampling = Sampling(labels=(), max_tokens=max_tokens)

    async def extract(self, text: str) -> tuple[Claim, ...]:
        """One claim per object, in the order of the answer.

        Raises ClaimsUnreadableError if the answer is no list of claims, and what the engine raises.
        """
        prompt = Prompt(
            system=_SYSTEM,
            images=(),
            shared=_INSTRUCTIONS.format(names=", ".join(self._lexicon.names)),
            tail=f"Text:\n{neutralise(text)}\n",
        )
        (completion,) = await self._engine.complete([prompt], self._sampling)
        claims: dict[str, Claim] = {}
        for claim in read_answer(completion.text, text, self._lexicon):
            known = claims.get(claim.name)
            claims[claim.name] = claim if known is None else _merge(known, claim)
        return tuple(claims.values())


def read_answer(answer: str, text: str, lexicon: Lexicon) -> Iterator[Claim]:
    """The claims in a model's answer about a text. Raises ClaimsUnreadableError if it holds no list of claims."""
    for entry in _find_list(answer):
        match entry:
            case {"name": str(name), "polarity": "affirmed" | "denied" as polarity}:
                claim = _read_entry(entry, name, polarity, text, lexicon)
                if claim is not None:
                    yield claim
            case _:
                raise ClaimsUnreadableError(
                    f"The model's list of claims has the entry {str(entry)[:100]!r}; it needs a name and a polarity of "
                    "'affirmed' or 'denied'. Use a larger model, or the lexicon's extractor."
                )


def _read_entry(entry: Mapping[str, Any], name: str, polarity: str, text: str, lexicon: Lexicon) -> Claim | None:
    canonical = lexicon.canonical_name(name)
    mention = entry.get("mention") or name
    if canonical is None or not isinstance(mention, str) or mention.casefold() not in text.casefold():
        return None
    form = lexicon.find_phrase(mention)
    is_kind = form is not None and form.is_kind
    count = entry.get("count")
    if polarity == "denied" or count == 0:
        return Claim(name=canonical, polarity="denied", count=None, is_narrower=is_kind, mention=mention)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return Claim(name=canonical, polarity="affirmed", count=None, mention=mention)
    is_exact = count > 1  # of one, the answer does not tell "one dog" from "a dog"
    return Claim(
        name=canonical,
        polarity="affirmed",
        count=count,
        is_exact=is_exact,
        is_narrower=is_exact and is_kind,
        mention=mention,
    )


def _find_list(answer: str) -> list[Any]:
    """The first JSON list of objects in an answer, whatever stands around it."""
    decoder = json.JSONDecoder()
    begin = -1
    for _ in range(_MAX_LISTS):
        begin = answer.find("[", begin + 1)
        if begin < 0:
            break
        try:
            found, _ = decoder.raw_decode(answer, begin)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
            return found
    raise ClaimsUnreadableError(
        f"The model's answer {answer[:100]!r} holds no JSON list of claims. Use a larger model, allow more tokens, "
        "or use the lexicon's extractor."
    )


def _merge(one: Claim, other: Claim) -> Claim:
    """Two claims of one name: affirmed if either is, and a count only where they agree."""
    if one.polarity != other.polarity:
        return one if one.polarity == "affirmed" else other
    return one if one.count == other.count else replace(one, count=None, is_exact=False, is_narrower=False)
