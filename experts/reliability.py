"""How far an expert's findings are to be trusted: its measured recall and false alarms, and what follows for a count.

Detectors overlook objects, so that not finding one is evidence, not proof. How strong it is follows from the recall
that was measured, by Bayes' rule over the number of objects that are really there.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from genrm.errors import ModelLoadError

RELIABILITY_FILE = "reliability.json"
_HEADROOM = 3
"""Counts considered beyond the largest that is claimed or found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """recall: share of objects that the expert finds at its threshold. false_alarm_rate: share of phrases for which it
    reports one object too many. Both in (0, 1), measured for the shipped expert, assumed otherwise.
    """

    recall: float = 0.8
    false_alarm_rate: float = 0.05

    def __post_init__(self) -> None:
        for name in ("recall", "false_alarm_rate"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0 and below 1.")


def read_reliability(model: str) -> Reliability | None:
    """What was measured of a model folder (`reliability.json` in it), or None if it does not say.

    Raises ModelLoadError if the file is damaged.
    """
    file = Path(model).expanduser() / RELIABILITY_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Reliability(recall=content["recall"], false_alarm_rate=content["false_alarm_rate"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(
            f"{file} must hold an object with recall and false_alarm_rate, each above 0 and below 1. Correct it, or "
            "delete it to use the assumed values."
        ) from error


def infer_counts(found: Sequence[tuple[int, Reliability]], *, at_least: int = 0) -> tuple[float, ...]:
    """Probability of each true count 0, 1, 2, …, given how many each expert found; sums to 1.

    found: number of detections and reliability of each expert that checked, taken as independent. at_least: a count
    that must be covered. Beforehand none and some are equally likely, and so are all counts above none.
    """
    top = max([number for number, _ in found] + [at_least]) + _HEADROOM
    weights = [0.5, *([0.5 / top] * top)]
    for number, reliability in found:
        weights = [w * _likelihood(number, true, reliability) for true, w in enumerate(weights)]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


@lru_cache(maxsize=4096)
def _likelihood(found: int, true: int, reliability: Reliability) -> float:
    """Probability of finding so many when so many are there: each is found or not, and there may be false alarms.

    False alarms are geometric, so that every number of detections has some probability.
    """
    rate = reliability.false_alarm_rate
    return sum(
        math.comb(true, hits)
        * reliability.recall**hits
        * (1 - reliability.recall) ** (true - hits)
        * (1 - rate)
        * rate ** (found - hits)
        for hits in range(min(found, true) + 1)
    )
