"""What a vision expert is: images and phrases in, detections out; and what a statement checker is: images and sentences
in, probabilities out.

Both are plain synchronous objects: `experts.panel` runs them off the event loop, in batches and with time limits. An
expert knows nothing of responses or claims; what its detections say about those is decided in `experts.verify`. A
checker knows nothing of them either; which sentences of a response it is asked for is decided in `experts.statements`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image

from experts.reliability import Reliability
from genrm.errors import GenRMError
from genrm.types import Detection


class ExpertError(GenRMError, RuntimeError):
    """An expert failed on an image it was given. What it was asked about is then unchecked; the verdict goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """Phrases to look for in one image. image: RGB, upright. phrases: without repeats; all are covered by the
    expert.
    """

    image: Image
    phrases: tuple[str, ...]


class Expert(Protocol):
    """Finds objects that phrases name.

    name: short and unique within a deployment; it appears in detections, metrics and warnings. model: hub id or the
    folder's name. reliability: as measured, or None where nobody has. vocabulary: the names the expert knows, or None
    where any phrase may be asked for (open vocabulary). batch_size: most inquiries that one call should hold.
    """

    name: str
    model: str
    reliability: Reliability | None
    vocabulary: frozenset[str] | None
    batch_size: int

    def covers(self, phrase: str) -> bool:
        """Whether not finding this phrase means anything: it is in the vocabulary, or can be asked for at all."""

    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """What was found, per inquiry: boxes in pixels of its image, best score first. Raises ExpertError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementInquiry:
    """Statements to be checked against images that they are about together. images: RGB, upright, at least one.
    question: what the statements answer; empty where nothing was asked. statements: sentences, without repeats.
    """

    images: tuple[Image, ...]
    question: str
    statements: tuple[str, ...]


class StatementChecker(Protocol):
    """Says how probably statements are true of images: what no detector has a box for, such as a colour or a sign.

    name, model: as an expert's. batch_size: most inquiries that one call should hold.
    """

    name: str
    model: str
    batch_size: int

    def check(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
        """Probability that each statement is true, in [0, 1], per inquiry in the order of its statements.

        Raises ExpertError.
        """


PanelMember = Expert | StatementChecker
"""Whoever an `experts.panel.ExpertPanel` asks."""
