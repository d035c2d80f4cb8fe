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
_MOST_CLAIMED = 500
"""Larger claims are not followed further than this, so that no text decides how long the inference takes."""


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
    that must be covered, up to 500. Beforehand none and some are equally likely, and so are all counts above none.
    """
    top = max([number for number, _ in found] + [min(at_least, _MOST_CLAIMED)]) + _HEADROOM
    logs = [math.log(0.5), *([math.log(0.5 / top)] * top)]
    for number, reliability in found:
        logs = [log + _log_likelihood(number, true, reliability) for true, log in enumerate(logs)]
    highest = max(logs)
    weights = [math.exp(log - highest) for log in logs]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


@lru_cache(maxsize=4096)
def _log_likelihood(found: int, true: int, reliability: Reliability) -> float:
    """Log-probability of finding so many when so many are there: each is found or not, and there may be false alarms.

    False alarms are geometric, so that every number of detections has some probability. Logarithms, because hundreds of
    objects leave the range of floats.
    """
    hit, miss = math.log(reliability.recall), math.log1p(-reliability.recall)
    alarm, calm = math.log(reliability.false_alarm_rate), math.log1p(-reliability.false_alarm_rate)
    logs = [
        hits * hit
        + (true - hits) * miss
        + (found - hits) * alarm
        - math.lgamma(hits + 1)
        - math.lgamma(true - hits + 1)
        for hits in range(min(found, true) + 1)
    ]
    highest = max(logs)
    return math.lgamma(true + 1) + highest + math.log(sum(math.exp(log - highest) for log in logs)) + calm
