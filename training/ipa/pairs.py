"""Pairs of an item: preferred is what passed, dispreferred what failed, and the same for the feedback behind it.

Pairs = pass × fail, up to a cap. Where there are more, they are taken in turns from the combinations of sources
(initial, contrastive, revised, each preferred or not), and within one the responses that are in few pairs yet go
first. Nothing that was not verified is in a pair, and no reference: both sides are what models wrote.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from training.ipa.candidates import Answer
from training.ipa.verification import FAILED, Finding

Two = tuple[Answer, Answer]
"""Preferred and dispreferred."""


def split_by_finding(answers: Iterable[Answer], findings: Mapping[str, Finding]) -> tuple[list[Answer], list[Answer]]:
    """Those that passed, and those that failed."""
    passed, failed = [], []
    for answer in answers:
        finding = findings.get(answer.key) if answer.fate == "kept" else None
        if finding == "pass":
            passed.append(answer)
        elif finding in FAILED:
            failed.append(answer)
    return passed, failed


def pair_up(passed: Sequence[Answer], failed: Sequence[Answer], *, cap: int, rng: random.Random) -> list[Two]:
    """At most `cap` different pairs, balanced by source."""
    by_source: dict[tuple[str, str], list[Two]] = {}
    for one, other in product(passed, failed):
        by_source.setdefault((one.source, other.source), []).append((one, other))
    turns = [rng.sample(pairs, len(pairs)) for _, pairs in sorted(by_source.items())]
    rng.shuffle(turns)
    uses: Counter[str] = Counter()
    taken: list[Two] = []
    while turns and len(taken) < cap:
        pairs = turns.pop(0)
        rarest = min(pairs, key=lambda pair: uses[pair[0].key] + uses[pair[1].key])
        pairs.remove(rarest)
        uses.update(answer.key for answer in rarest)
        taken.append(rarest)
        if pairs:
            turns.append(pairs)
    return taken


def pair_feedback(
    answers: Iterable[Answer], findings: Mapping[str, Finding], *, cap: int, rng: random.Random
) -> list[Two]:
    """Revisions of one response whose feedback led to a pass, and to a fail; one pair per response, at most `cap`."""
    by_response: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer.source == "revised":
            by_response.setdefault(answer.of, []).append(answer)
    found = []
    for revisions in by_response.values():
        passed, failed = split_by_finding(revisions, findings)
        different = [(one, other) for one, other in product(passed, failed) if one.feedback != other.feedback]
        if different:
            found.append(rng.choice(different))
    return found if len(found) <= cap else rng.sample(found, cap)
