"""Deterministic experts for tests and for trying a deployment without weights: they find what they were told to."""

from collections.abc import Callable, Mapping, Sequence

from experts.contract import Inquiry, StatementInquiry
from experts.reliability import Reliability
from genrm.types import Detection


class FakeExpert:
    """Finds `finds[phrase]` objects of each phrase in any image, side by side, each with score 0.9.

    behave: called with each batch before it is answered; it may raise or wait, to see what becomes of a broken or slow
    expert. batches: every batch it was given, in order.
    """

    def __init__(
        self,
        finds: Mapping[str, int] | None = None,
        *,
        name: str = "fake",
        model: str = "fake",
        reliability: Reliability | None = None,
        vocabulary: frozenset[str] | None = None,
        batch_size: int = 4,
        behave: Callable[[Sequence[Inquiry]], object] | None = None,
    ) -> None:
        self.name, self.model, self.vocabulary, self.batch_size = name, model, vocabulary, batch_size
        self.reliability = reliability
        self.batches: list[tuple[Inquiry, ...]] = []
        self._finds, self._behave = dict(finds or {}), behave

    def covers(self, phrase: str) -> bool:
        """Whether the phrase is in the vocabulary, if it has one."""
        return self.vocabulary is None or phrase in self.vocabulary

    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """As told, after `behave` has had its way."""
        self.batches.append(tuple(inquiries))
        if self._behave is not None:
            self._behave(inquiries)
        return [
            tuple(
                Detection(phrase=phrase, score=0.9, box=(5 * i, 5, 5 * i + 4, 9), expert=self.name, model=self.model)
                for phrase in inquiry.phrases
                for i in range(self._finds.get(phrase, 0))
            )
            for inquiry in inquiries
        ]


class FakeChecker:
    """Knows how probable it was told that statements are, `probabilities[statement]`; all others are at even odds.

    behave, batches: as of `FakeExpert`.
    """

    def __init__(
        self,
        probabilities: Mapping[str, float] | None = None,
        *,
        name: str = "fake-statements",
        model: str = "fake",
        batch_size: int = 4,
        behave: Callable[[Sequence[StatementInquiry]], object] | None = None,
    ) -> None:
        self.name, self.model, self.batch_size = name, model, batch_size
        self.batches: list[tuple[StatementInquiry, ...]] = []
        self._probabilities, self._behave = dict(probabilities or {}), behave

    def check(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
        """As told, after `behave` has had its way."""
        self.batches.append(tuple(inquiries))
        if self._behave is not None:
            self._behave(inquiries)
        return [tuple(self._probabilities.get(each, 0.5) for each in inquiry.statements) for inquiry in inquiries]
