"""What a model is asked for when it edits, and what its reply amounts to.

Two prompts: one line, which the pocket base is taught, and instructions for a general model that ask for JSON. Replies
come with talk around the edit, in code fences, as a refusal, or with nothing in them; each is told apart. The wording
of both is ours: the paper's is not published.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from genrm.engines.contract import Prompt
from training.vapr.editors import EditRequest, ReplyFate

FIELD = "edited"
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {FIELD: {"type": "string"}},
    "required": [FIELD],
    "additionalProperties": False,
}
_SYSTEM = "You edit answers to questions about images. You reply with JSON only."
_MEANINGS = {
    "object": "name another object in place of one that is there",
    "attribute": "change one attribute (colour, material, size, state)",
    "relation": "change one position or relation",
    "count": "change one number",
    "swap": "swap two objects, or the attributes or numbers of two objects",
    "addition": "add one plausible object that is not in the image",
    "existence": "say that something is absent which is there, or the reverse",
    "text": "change a text or number that is read in the image",
    "reasoning": "change a comparison or a conclusion so that it no longer follows",
}
_TASK = """Question: {question}
Reference answer: {reference}

Rewrite the reference answer so that it has exactly one error of the kind "{kind}": {meaning}. The rewritten answer must
be false of the image. Keep its length, its beginning, its punctuation and its style, and every word that the error does
not need. Do not mention the error. Reply with {{"edited": "<the rewritten answer>"}}; if no such error can be made,
reply with {{"edited": ""}}."""
_REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]m |i am )?(?:so |very )?sorry|i (?:can(?:['’]t|not)|won['’]t|will not|am (?:not able|unable))"
    r"|as an ai|i must decline|unfortunately,? i)\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```\w*\n?(.*?)```", re.DOTALL)
_QUOTES = {'"': '"', "“": "”", "'": "'"}


@dataclass(frozen=True, slots=True)
class NoEdit:
    """A reply that holds no edit. fate: why."""

    fate: ReplyFate


def plain_prompt(request: EditRequest, kind_word: str) -> Prompt:
    """The one-line prompt. kind_word: what the model knows this kind of error as."""
    return Prompt(
        system="",
        images=request.images,
        shared=f"Question: {request.question}\n",
        tail=f"Response: {request.reference}\nRewrite the response with one {kind_word} error.",
    )


def json_prompt(request: EditRequest) -> Prompt:
    """The instructions for a general model."""
    meaning = _MEANINGS.get(request.kind, "make one statement false")
    task = _TASK.format(question=request.question, reference=request.reference, kind=request.kind, meaning=meaning)
    return Prompt(system=_SYSTEM, images=request.images, shared="", tail=task)


def read_json_edit(reply: str) -> str | NoEdit:
    """The edit of the last JSON object that has one, whatever stands around it; or why there is none."""
    found = [value for value in _json_objects(reply) if isinstance(value.get(FIELD), str)]
    if found:
        text = str(found[-1][FIELD]).strip()
        return text if text and not _REFUSAL.match(text) else NoEdit("editor refused")
    return NoEdit("editor refused" if _REFUSAL.match(reply) else "no edit in the reply")


def read_plain_edit(reply: str, reference: str) -> str | NoEdit:
    """The edit of a reply in plain text, without a lead-in line, a fence or quotes that the reference does not have."""
    text = reply.strip()
    fenced = _FENCE.search(text)
    if fenced is not None and "```" not in reference:
        text = fenced.group(1).strip()
    lines = text.splitlines()
    if len(lines) > len(reference.strip().splitlines()) and lines[0].rstrip().endswith(":"):
        text = "\n".join(lines[1:]).strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not reference.startswith(text[0]):
        text = text[1:-1].strip()
    if not text:
        return NoEdit("no edit in the reply")
    return NoEdit("editor refused") if _REFUSAL.match(text) and not _REFUSAL.match(reference) else text


def _json_objects(text: str) -> Iterator[dict[str, object]]:
    decoder, place = json.JSONDecoder(strict=False), text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            end = place + 1
        else:
            if isinstance(value, dict):
                yield value
        place = text.find("{", end)
