"""The right verdict of a labelled pair in each order, and how probable a model's answer makes it."""

from math import exp

from genrm.engines.contract import Completion
from genrm.prompts import FIRST, LABELS, SECOND
from genrm.types import Response

ORDERS: tuple[Response, Response] = ("A", "B")
"""Which response stands first."""


def gold_label(better: Response, first: Response) -> str:
    """The right verdict of the order in which `first` stands first."""
    return FIRST if better == first else SECOND


def probability_of(completion: Completion, label: str) -> float | None:
    """Probability of a label among the legal ones; None where the text has no verdict."""
    if completion.label_logprobs is None:
        return None
    chances = [exp(logprob) for logprob in completion.label_logprobs]
    return chances[LABELS.index(label)] / sum(chances) if sum(chances) > 0 else None
