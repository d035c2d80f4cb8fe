"""From what a model wrote in both orders to one verdict.

Each order gives log-odds for A: the label log-probabilities of its samples are turned into P(first), averaged over the
samples as probabilities, and turned back. The verdict's log-odds are the mean of the two orders', so a preference for
a position cancels, and exchanging A and B changes nothing but the sign: P(A) of one call is P(B) of the other to the
last bit.

Where an engine gives no log-probabilities, each sampled verdict is one vote, and an order with k of n votes for the
first response has P(first) = (k + ½) / (n + 1) (the Krichevsky–Trofimov, or Jeffreys, estimate), so that five equal
votes say 0.92 and not certainty. `probability_source` tells the two apart.

The mean is divided by a temperature (`genrm.calibration`; 1 unless one was fitted), and what experts found may be added
to it (`genrm.evidence`); readings stay as the model gave them. Left out on purpose: no correction of a position bias
beyond averaging, which would hide what the model said.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from genrm.engines.contract import Completion
from genrm.parsing import parse_verdict
from genrm.prompts import LABELS
from genrm.types import Probabilities, ProbabilitySource, Reading, Response, Timings, Usage, Verdict

OUTWEIGHED = (
    "What the experts found outweighed the judge: both readings together prefer the other response, and so may the "
    "critique."
)
MAX_LOG_ODDS = 30.0
"""Nats. A reading cannot be surer than this (1 − 1e-13), so that no reading outweighs all others by an infinity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictRules:
    """When a verdict is no decision. Raises ValueError if a threshold is outside [0, 1]."""

    tie_margin: float = 0.0
    """|P(A) − P(B)| up to and including this is a tie. 0: only exact equality is."""
    min_label_mass: float = 0.1
    """With less probability than this on legal labels, in either order, the judge abstains. 0: never for this
    reason."""

    def __post_init__(self) -> None:
        for name in ("tie_margin", "min_label_mass"):
            value: float = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be between 0 and 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One completion, read."""

    reading: Reading
    log_odds: float | None
    """ln P(first) − ln P(second), at most `MAX_LOG_ODDS` in size. With votes it says only by its sign which was
    chosen. None: unparsed."""


def read_completion(
    completion: Completion, *, first: Response, answer_prefix: str = "", source: ProbabilitySource = "logprobs"
) -> Sample:
    """What one completion says about A and B.

    first: which response stood first in its prompt. answer_prefix: that of the prompt; with one (fast mode) nothing
    but the label is wanted, so the critique is empty and a text that ends at the label has ended rightly, whatever cut
    it. source: where probabilities come from. A completion without what the source needs is unparsed: no
    probabilities, label mass 0.
    """
    parsed = parse_verdict(answer_prefix + completion.text)
    if source == "votes":
        log_odds = None if parsed.label is None else (MAX_LOG_ODDS if parsed.label == LABELS[0] else -MAX_LOG_ODDS)
        p_first = None if parsed.label is None else float(parsed.label == LABELS[0])
        label_mass = 0.0 if parsed.label is None else 1.0
    else:
        log_odds, label_mass = _read_logprobs(completion.label_logprobs)
        p_first = None if log_odds is None else sigmoid(log_odds)
    fast = bool(answer_prefix)
    return Sample(
        reading=Reading(
            first=first,
            critique="" if fast else parsed.critique,
            probabilities=None if p_first is None else _assign(p_first, 1 - p_first, first=first),
            label_mass=label_mass,
            finish_reason="stop" if fast and log_odds is not None else completion.finish_reason,
            completion_tokens=completion.completion_tokens,
        ),
        log_odds=log_odds,
    )


def combine_samples(
    samples: Sequence[Sample],
    *,
    rules: VerdictRules,
    source: ProbabilitySource,
    usage: Usage,
    timings: Timings,
    temperature: float = 1.0,
    evidence_log_odds: float | None = None,
) -> Verdict:
    """The verdict over both orders and all samples.

    temperature: what the averaged log-odds are divided by, above 0. evidence_log_odds: nats for A that are added to
    the result; None if the verdict is the model's alone. It cannot make a verdict of one that abstains; one that it
    turns round has the warning `OUTWEIGHED`.

    samples: at least one with A first and one with B first, in any order. Readings are listed A-first ones before
    B-first ones. `label_mass` is the lower of the two orders' (an order's is the mean over its samples, unparsed ones
    counting 0). If only one order could be read, its probabilities are given, but the verdict abstains: alone it
    cannot be told from position bias. The critique is chosen by `choose_critique`.
    """
    a_first = _summarise([sample for sample in samples if sample.reading.first == "A"], source=source)
    b_first = _summarise([sample for sample in samples if sample.reading.first == "B"], source=source)
    read = _mean_of_known(a_first.log_odds, None if b_first.log_odds is None else -b_first.log_odds)
    log_odds_a = None if read is None else read / temperature + (evidence_log_odds or 0.0)
    probabilities = None if log_odds_a is None else Probabilities(A=sigmoid(log_odds_a), B=sigmoid(-log_odds_a))
    margin = None if probabilities is None else probabilities.A - probabilities.B
    label_mass = min(a_first.label_mass, b_first.label_mass)

    reason = _find_reason_to_abstain(a_first, b_first, label_mass=label_mass, rules=rules)
    preferred: Response | None = None
    if reason is None and margin is not None and abs(margin) > rules.tie_margin:
        preferred = "A" if margin > 0 else "B"
    is_outweighed = preferred is not None and read is not None and (read < 0 if preferred == "A" else read > 0)
    ordered = [sample for first in ("A", "B") for sample in samples if sample.reading.first == first]
    return Verdict(
        status="abstained" if reason else "decided" if preferred else "tie",
        reason=reason,
        preferred=preferred,
        probabilities=probabilities,
        margin=margin,
        confidence=0.0 if probabilities is None else max(probabilities.A, probabilities.B) * label_mass,
        consistent=_agree(a_first.log_odds, b_first.log_odds),
        label_mass=label_mass,
        probability_source=source,
        calibration_temperature=temperature,
        evidence_log_odds=evidence_log_odds,
        warnings=(OUTWEIGHED,) if is_outweighed else (),
        critique=choose_critique(ordered, preferred=preferred),
        readings=tuple(sample.reading for sample in ordered),
        usage=usage,
        timings_ms=timings,
    )


def choose_critique(samples: Sequence[Sample], *, preferred: Response | None) -> str:
    """The critique that is shown with the verdict.

    samples: A-first ones before B-first ones. It is the first critique that argues for the preferred response, so one
    from the A-first reading if that agrees (there "first response" means A, as a reader expects), else one from the
    other order. Without a preference, and where evidence outweighs all critiques, it is the first critique there is. In
    fast mode all are empty.
    """
    for sample in samples:
        if preferred is not None and sample.log_odds is not None and sample.reading.critique:
            favoured_first = sample.log_odds > 0
            if favoured_first == (sample.reading.first == preferred):
                return sample.reading.critique
    return next((sample.reading.critique for sample in samples if sample.reading.critique), "")


def sigmoid(log_odds: float) -> float:
    """The probability, in [0, 1], of what has these log-odds (nats). Never overflows."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """All samples of one order, summarised. log_odds: of the first response; None when no sample was parsed."""

    log_odds: float | None
    label_mass: float
    was_cut: bool


def _summarise(samples: Sequence[Sample], *, source: ProbabilitySource) -> _Order:
    assert samples, "both orders are always asked for"
    known = [sample.log_odds for sample in samples if sample.log_odds is not None]
    if not known:
        log_odds = None
    elif source == "votes":
        num_first = sum(value > 0 for value in known)
        log_odds = math.log((num_first + 0.5) / (len(known) - num_first + 0.5))
    else:
        # ln mean P(first) − ln mean P(second), in logarithms because P may be 1 to the last bit.
        log_odds = _log_sum([_log_sigmoid(value) for value in known]) - _log_sum(
            [_log_sigmoid(-value) for value in known]
        )
    return _Order(
        log_odds=log_odds,
        label_mass=sum(sample.reading.label_mass for sample in samples) / len(samples),
        was_cut=any(sample.log_odds is None and sample.reading.finish_reason == "length" for sample in samples),
    )


def _read_logprobs(label_logprobs: tuple[float, ...] | None) -> tuple[float | None, float]:
    """Log-odds of the first label over the second, and the mass on both. Not a number, or no mass at all: unparsed."""
    if label_logprobs is None or any(math.isnan(value) for value in label_logprobs):
        return None, 0.0
    first, second = label_logprobs
    mass = min(1.0, math.exp(min(first, 0.0)) + math.exp(min(second, 0.0)))
    if mass == 0:
        return None, 0.0
    return max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, first - second)), mass


def _assign(p_first: float, p_second: float, *, first: Response) -> Probabilities:
    return Probabilities(A=p_first, B=p_second) if first == "A" else Probabilities(A=p_second, B=p_first)


def _mean_of_known(one: float | None, two: float | None) -> float | None:
    if one is None or two is None:
        return two if one is None else one
    return (one + two) / 2


def _agree(a_first: float | None, b_first: float | None) -> bool | None:
    """Whether both orders prefer the same response; an even order agrees only with another even one."""
    if a_first is None or b_first is None:
        return None
    return a_first * b_first < 0 or a_first == b_first == 0


def _find_reason_to_abstain(a_first: _Order, b_first: _Order, *, label_mass: float, rules: VerdictRules) -> str | None:
    hint = " The text was cut at the token limit; raise max_tokens." if a_first.was_cut or b_first.was_cut else ""
    if a_first.log_odds is None and b_first.log_odds is None:
        return f"The model gave no verdict in either order of the responses.{hint}"
    if a_first.log_odds is None or b_first.log_odds is None:
        read, unread = ("B", "A") if a_first.log_odds is None else ("A", "B")
        return (
            f"The model gave a verdict where response {read} stood first, and none where {unread} did, so a preference "
            f"for a position cannot be ruled out.{hint}"
        )
    if label_mass < rules.min_label_mass:
        return (
            f"The model put {label_mass:.1%} of its probability on legal verdicts; at least {rules.min_label_mass:.1%} "
            "is required."
        )
    return None


def _log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value)) if value >= 0 else value - math.log1p(math.exp(value))


def _log_sum(values: Sequence[float]) -> float:
    """Ln of the sum of exponentials."""
    top = max(values)
    return top + math.log(math.fsum(math.exp(value - top) for value in values))
