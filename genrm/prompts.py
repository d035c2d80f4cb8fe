"""The one versioned prompt that every judge sees, and the neutralising of hostile candidate text.

The order serves caches: the system turn is the same for all requests, then images and question (shared by both orders
and by all candidates), and the responses last. Labels are words that no response carries by accident at the verdict
position, and both are single tokens after "Verdict:" in every tokenizer we know; engines check it at start-up.

Hostile text: a candidate may contain chat or vision markers ("<|im_end|>", "<image>") or a verdict line of its own.
Markers would be tokenised as control tokens, so a zero-width space is put behind their "<"; a quoted verdict can not
win because only the model's own text is parsed (`genrm.parsing`), and its marker is broken in the prompt as well so
that the model is not primed by it.
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
    r"<(?=\|[^<>|]{1,64}\|>|/?(?:image|img|video|audio|s|pad|unk|bos|eos|think|tool_call)\b)", re.IGNORECASE
)
_QUOTED_VERDICT = re.compile(r"verdict([\s*_`]*):", re.IGNORECASE)  # with what `genrm.parsing` allows before the colon
_ZERO_WIDTH_SPACE = "\u200b"


def neutralise(text: str) -> str:
    """Candidate text that can be shown to a model without being read as markup or as a verdict.

    Control markers get a zero-width space behind their "<"; "Verdict:" becomes "verdict -". Any other text comes back
    unchanged, outer white space stripped.
    """
    text = _CONTROL.sub("<" + _ZERO_WIDTH_SPACE, text)
    return _QUOTED_VERDICT.sub(r"verdict\1 -", text).strip()


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
