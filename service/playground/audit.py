"""A light audit of the judge that is served, from verdicts alone: does it prefer a position, length, or a "yes", and do
its probabilities mean what they say?

Counts with Wilson's intervals. Not the offline evaluation, which has the blank image, groups and paired tests
(`vl-genrm eval`): this one is for a first look at a model, on rows that a visitor has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scipy.stats import binomtest

from genrm.types import Response
from service.batches.lines import read_values
from service.errors import RefusalError
from service.exchange import ServiceError
from service.schemas import JudgeResponse
from service.settings import Settings

NUM_BINS = 5


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """A comparison to be judged. body: of a judgement, as JSON. better: the truth, where it is known."""

    name: str
    body: dict[str, object]
    better: Response | None

    def read_text(self, response: Response) -> str:
        """One of its two responses."""
        return str(self.body.get(f"response_{response.lower()}", ""))


@dataclass(frozen=True, kw_only=True)
class Share:
    """How often something happened: `count` of `total`."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]; 0 of nothing is 0."""
        return self.count / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval; everything, of nothing."""
        if not self.total:
            return 0.0, 1.0
        found = binomtest(self.count, self.total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def describe(self) -> str:
        """Such as "25 % (3 of 12)"."""
        return f"{self.value:.0%} ({self.count} of {self.total})" if self.total else "nothing to count"


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Verdicts of about the same confidence. confidence: the mean probability of what they prefer, in [0.5, 1]."""

    confidence: float
    right: Share


@dataclass(kw_only=True)
class Audit:
    """What was judged so far. verdicts: with the rows that they are about."""

    verdicts: list[tuple[AuditRow, JudgeResponse]] = field(default_factory=list)

    def count_flips(self) -> Share:
        """Verdicts whose two orders prefer different responses."""
        known = [verdict.consistent for _, verdict in self.verdicts if verdict.consistent is not None]
        return Share(count=known.count(False), total=len(known))

    def count_first(self) -> Share:
        """Readings that prefer whichever response stood first. Without a preference for a position it is one half."""
        firsts = [
            getattr(reading.probabilities, reading.first) > 0.5
            for _, verdict in self.verdicts
            for reading in verdict.readings
            if reading.probabilities is not None
        ]
        return Share(count=sum(firsts), total=len(firsts))

    def count_longer(self, *, of_truth: bool = False) -> Share:
        """Decided verdicts for the response with more words. of_truth: how often that one is better, where known."""
        return self._count(_find_longer, of_truth=of_truth)

    def count_yes(self, *, of_truth: bool = False) -> Share:
        """Decided verdicts for the response that begins with "yes" where the other does not. of_truth: as above."""
        return self._count(_find_yes, of_truth=of_truth)

    def _count(self, find: Callable[[AuditRow], Response | None], *, of_truth: bool) -> Share:
        hits = []
        for row, verdict in self.verdicts:
            marked = find(row)
            chosen = row.better if of_truth else verdict.preferred
            if marked is not None and chosen is not None:
                hits.append(marked == chosen)
        return Share(count=sum(hits), total=len(hits))

    def _judged_right(self) -> list[tuple[float, bool]]:
        """Per decided verdict with a known truth: the probability of what it prefers, and whether it is right."""
        return [
            (max(verdict.probabilities.A, verdict.probabilities.B), verdict.preferred == row.better)
            for row, verdict in self.verdicts
            if row.better is not None and verdict.preferred is not None and verdict.probabilities is not None
        ]

    def count_right(self) -> Share:
        """Decided verdicts that are right, where the truth is known."""
        found = self._judged_right()
        return Share(count=sum(right for _, right in found), total=len(found))

    def bin_confidence(self) -> list[Bin]:
        """Bins of equal width from one half to one; empty ones are left out."""
        bins: list[list[tuple[float, bool]]] = [[] for _ in range(NUM_BINS)]
        for confidence, right in self._judged_right():
            bins[min(NUM_BINS - 1, int((confidence - 0.5) * 2 * NUM_BINS))].append((confidence, right))
        return [
            Bin(
                confidence=sum(confidence for confidence, _ in each) / len(each),
                right=Share(count=sum(right for _, right in each), total=len(each)),
            )
            for each in bins
            if each
        ]

    def calibration_error(self) -> float | None:
        """Expected calibration error in [0, 1]; None where no truth is known."""
        bins = self.bin_confidence()
        total = sum(each.right.total for each in bins)
        if not total:
            return None
        return sum(abs(each.confidence - each.right.value) * each.right.total for each in bins) / total


def read_audit_rows(path: Path, settings: Settings, *, max_rows: int) -> list[AuditRow]:
    """The comparisons of a JSONL file: lines of a batch's input, or bodies of judgements; both may have `better`.

    settings: whose limits hold for each line. Raises ServiceError that names the first line that is neither, also for
    a file without any.
    """
    rows: list[AuditRow] = []
    for number, line in _find_lines(path):
        if len(rows) == max_rows:
            break
        rows.append(_read_row(number, line, settings))
    if not rows:
        raise _refuse("The file has no lines. Give one comparison per line, as JSON.")
    return rows


def _find_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


def _read_row(number: int, line: bytes, settings: Settings) -> AuditRow:
    try:
        given = read_values(line, settings)
    except RefusalError as error:
        raise _refuse(f"Line {number}: {error}") from None
    except ValueError:
        raise _refuse(f"Line {number} is not JSON. Give one comparison per line.") from None
    body = given.get("body", given) if isinstance(given, dict) else None
    if not isinstance(body, dict) or "question" not in body:
        raise _refuse(
            f"Line {number} is no comparison. Give a JSON object with image, question, response_a and response_b, or a "
            "line of a batch's input file."
        )
    better = given.get("better")
    fields = {name: value for name, value in body.items() if name not in ("better", "stream")}
    return AuditRow(
        name=str(given.get("custom_id", f"line {number}"))[:80],
        body=fields,
        better=better if better in ("A", "B") else None,
    )


def _find_longer(row: AuditRow) -> Response | None:
    a, b = (len(row.read_text(name).split()) for name in ("A", "B"))
    return None if a == b else "A" if a > b else "B"


def _find_yes(row: AuditRow) -> Response | None:
    a, b = (row.read_text(name).lower().lstrip().startswith("yes") for name in ("A", "B"))
    return None if a == b else "A" if a else "B"


def _refuse(message: str) -> ServiceError:
    return ServiceError(message, type="invalid_request_error", code="invalid_value")


def summarise(audit: Audit) -> Sequence[tuple[str, str]]:
    """What was found, as names and sentences."""
    statuses = [verdict.status for _, verdict in audit.verdicts]
    error = audit.calibration_error()
    return (
        ("Judged", f"{len(statuses)} rows: {statuses.count('tie')} ties, {statuses.count('abstained')} abstained"),
        ("Orders disagree", audit.count_flips().describe()),
        ("Prefers the first position", f"{audit.count_first().describe()} of readings; 50 % is fair"),
        ("Prefers the longer response", _with_truth(audit.count_longer(), audit.count_longer(of_truth=True))),
        ('Prefers the "yes"', _with_truth(audit.count_yes(), audit.count_yes(of_truth=True))),
        ("Right", audit.count_right().describe()),
        ("Calibration error", "no truth in the rows" if error is None else f"{error:.3f} (0 is perfect)"),
    )


def _with_truth(found: Share, truth: Share) -> str:
    return found.describe() + (f"; truly better in {truth.describe()}" if truth.total else "")
