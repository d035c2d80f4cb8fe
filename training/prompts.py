"""What offline jobs ask of a model beyond judging: critiques with the answer in view.

A judge never sees these texts; they only make training data. The pocket base is taught to follow them, as a general
model follows instructions.
"""

from dataclasses import replace
from typing import Literal

from genrm.engines.contract import Prompt
from genrm.types import Response
from training.gold import gold_label

CritiqueStyle = Literal["critique", "descriptive", "none"]
"""`critique` checks claims, `descriptive` describes the image (the failure mode that VL-GenRM warns of), `none` gives
the verdict alone.
"""

_HINT = "\nHint, not to be mentioned: the better response is {label}."
_DESCRIBE = " Describe the image instead of the responses."


def guidance(better: str, style: CritiqueStyle) -> str:
    """What is added to a prompt so that the verdict is known. better: label of the better response."""
    return _HINT.format(label=better) + (_DESCRIBE if style == "descriptive" else "")


def guide(prompt: Prompt, *, first: Response, better: Response, style: CritiqueStyle) -> Prompt:
    """The prompt with the gold verdict in view. first: the response that stands first in it."""
    return replace(prompt, tail=prompt.tail + guidance(gold_label(better, first), style))
