"""An expert made worse on purpose: overlooked objects and false alarms at known rates, for studies.

Wraps any expert, so that what a filter or a judge makes of detectors' mistakes can be measured before one has to be
trusted. The same image and phrase meet the same mistakes at every call, whatever else is asked beside them.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from experts.contract import Expert, Inquiry
from experts.reliability import Reliability
from genrm.types import Detection

_LEAST, _MOST = 1e-4, 1 - 1e-4
"""Bounds of a reliability: a rate of exactly 0 or 1 would let no evidence change a mind."""


class NoisyExpert:
    """`expert`, with injected mistakes.

    miss_rate: share of its detections that are dropped; false_alarm_rate: share of phrases that get one box too many,
    of any size and at any place; both in [0, 1]. seed: another draw of mistakes. Its reliability is the expert's with
    the injected mistakes counted in, as if it had been measured.
    """

    def __init__(self, expert: Expert, *, miss_rate: float = 0.0, false_alarm_rate: float = 0.0, seed: int = 0) -> None:
        for name, rate in (("miss_rate", miss_rate), ("false_alarm_rate", false_alarm_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} is {rate}; it must be from 0 to 1.")
        self.name, self.model = expert.name, expert.model
        self.vocabulary, self.batch_size = expert.vocabulary, expert.batch_size
        known = expert.reliability or Reliability()
        recall = known.recall * (1 - miss_rate)
        false_alarms = 1 - (1 - known.false_alarm_rate) * (1 - false_alarm_rate)
        self.reliability: Reliability | None = Reliability(
            recall=min(max(recall, _LEAST), _MOST), false_alarm_rate=min(max(false_alarms, _LEAST), _MOST)
        )
        self._expert, self._seed = expert, seed
        self._miss_rate, self._false_alarm_rate = miss_rate, false_alarm_rate

    def covers(self, phrase: str) -> bool:
        """As the expert inside."""
        return self._expert.covers(phrase)

    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """What the expert inside finds, less what is overlooked, more the false alarms; best score first."""
        return [
            self._spoil(inquiry, found)
            for inquiry, found in zip(inquiries, self._expert.detect(inquiries), strict=True)
        ]

    def _spoil(self, inquiry: Inquiry, found: Sequence[Detection]) -> tuple[Detection, ...]:
        picture = zlib.crc32(inquiry.image.tobytes())
        kept: list[Detection] = []
        for phrase in inquiry.phrases:
            rng = np.random.default_rng([self._seed, picture, zlib.crc32(phrase.encode())])
            if rng.random() < self._false_alarm_rate:
                kept.append(self._false_alarm(inquiry.image, phrase, rng))
            kept += [d for d in found if d.phrase == phrase and rng.random() >= self._miss_rate]
        return tuple(sorted(kept, key=lambda detection: -detection.score))

    def _false_alarm(self, image: Image, phrase: str, rng: np.random.Generator) -> Detection:
        x, y = np.sort(rng.random((2, 2)), axis=1)
        return Detection(
            phrase=phrase,
            score=float(rng.uniform(0.3, 0.9)),
            box=(x[0] * image.width, y[0] * image.height, x[1] * image.width, y[1] * image.height),
            expert=self.name,
            model=self.model,
        )
