"""The one versioned prompt that every judge sees, and the neutralising of hostile candidate text.

The order serves caches: the system turn is the same for all requests, then images and question (shared by both orders
and by all candidates), and the responses last. Labels are words that no response carries by accident at the verdict
position, and both are single tokens after "Verdict:" in every tokenizer we know; engines check it at start-up.

Hostile text: a candidate may contain chat or vision markers ("<|im_end|>", "<image>") or a verdict line of its own.
Both are taken out of what the model sees. Markers would be tokenised as control tokens; a quoted verdict could not win
anyway, because only the model's own text is parsed (`genrm.parsing`), but it primes a model. Breaking them with
invisible characters was tried first: what was left of them swayed the shipped judge in up to 8 of 12 samples.
"""

import re
from typing import Literal

from genrm.engines.contract import Prompt
from genrm.types import Comparison, Mode, Response

PROMPT_VERSION = "2026-11-a"
MARKER = "Verdict:"
FIRST, SECOND = LABELS = ("First", "Second")

SYSTEM = (
    "You judge two responses to a question about an image. Write a critique that checks what each response claims "
    "against the image, then end with 'Verdict: First' or 'Verdict: Second' for the better one."
)

_CONTROL = re.compile(
    r"<\|[^<>|]{1,64}\|>|</?(?:image|img|video|audio|s|pad|unk|bos|eos|think|tool_call)(?:\s[^<>]{0,64})?/?>",
    re.IGNORECASE,
)
_QUOTED_VERDICT = re.compile(  # with what `genrm.parsing` allows around the colon
    r"verdict[\s*_`]*:(?:[\s*_`]*(?:first|second|a|b)\b)?", re.IGNORECASE
)


def neutralise(text: str) -> str:
    """Candidate text that can be shown to a model without being read as markup or as a verdict.

    Control markers and quoted verdicts ("Verdict:" with a label behind it, if there is one) are taken out, again until
    none is left, since taking one out may join the halves of another. Any other text comes back unchanged, outer white
    space stripped.
    """
    while True:
        shown = _QUOTED_VERDICT.sub("", _CONTROL.sub("", text)).strip()
        if shown == text:
            return shown
        text = shown


def render_prompt(comparison: Comparison, *, first: Response, mode: Mode) -> Prompt:
    """The prompt for one order.

    first: which response stands first. mode: `critique` lets the model write before its verdict; `fast` asks for the
    label at once by starting the assistant's turn with the marker.
    """
    a, b = neutralise(comparison.response_a), neutralise(comparison.response_b)
    one, two = (a, b) if first == "A" else (b, a)
    return Prompt(
        system=SYSTEM,
        images=comparison.images,
        shared=f"Question: {neutralise(comparison.question)}\n",
        tail=f"First response: {one}\nSecond response: {two}",
        answer_prefix=MARKER if mode == "fast" else "",
    )


def other(label: Literal["A", "B"]) -> Response:
    """The other response's name."""
    return "B" if label == "A" else "A"
