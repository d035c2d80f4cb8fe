"""Reads outputs that the official VL-RewardBench script wrote, so that published results can be counted anew.

One JSON object per line and call, several calls per pair: `id`, `query`, `response` (both, as in the benchmark) and
`meta` with `random_number` (0: the responses were shown as given, 1: exchanged) and `filter_number` (the answer that
was chosen, 1 or 2, by position; anything else could not be parsed). An object may stand under the key "0", as some
published files have it.

What we do differently from the official counting: an answer "3" is unparsed there only if the pattern fails, here
always; every order is scored by itself; and no call is left out at random. The verdict of a pair is the official
majority: more than half of all its calls, unparsed ones included; without one there is no verdict.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.evaluation.scoring import Outcome, score_orders
from training.sources import Pair, Skipped
from training.tables import SourceError, number_lines


def read_outputs(path: Path, pairs: Sequence[Pair]) -> tuple[list[Pair], list[Outcome], list[Skipped]]:
    """The pairs that the file has, their outcomes, and the pairs that it lacks. Raises SourceError for a file or line
    that is not of the form above.
    """
    votes: dict[tuple[str, ...], list[tuple[bool, int | None]]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}). Name a file of published outputs.") from None
    for number, line in number_lines(text):
        try:
            row = json.loads(line)
            key, exchanged, answer = _read_vote(row.get("0", row))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"Line {number} of {path} is no output of VL-RewardBench's script ({type(error).__name__}: {error}). "
                "It needs id, query, response, meta.random_number and meta.filter_number."
            ) from None
        votes.setdefault(key, []).append((exchanged, answer))
    known, outcomes, missing = [], [], []
    for pair in pairs:
        found = votes.get(_make_key(pair.id, pair.question, [pair.response_a, pair.response_b]))
        if found is None:
            missing.append(Skipped(id=pair.id, reason=f"{path.name} has no output for it."))
        else:
            known.append(pair)
            outcomes.append(_make_outcome(pair, found))
    return known, outcomes, missing


def _read_vote(row: Mapping[str, Any]) -> tuple[tuple[str, ...], bool, int | None]:
    """Which pair, whether its responses were exchanged, and the answer chosen; None if unparsed."""
    meta = row["meta"]
    exchanged, answer = int(meta["random_number"]), int(meta["filter_number"])
    if exchanged not in (0, 1):
        raise ValueError(f"random_number is {exchanged}")
    responses = row["response"]
    if isinstance(responses, str):
        responses = json.loads(responses)
    key = _make_key(row["id"], row["query"], responses)
    return key, bool(exchanged), answer if answer in (1, 2) else None


def _make_key(row_id: str, query: str, responses: Sequence[str]) -> tuple[str, ...]:
    """Ids repeat, so texts are part of it. Sources strip a leading image tag; so do we."""
    return (row_id, query.removeprefix("<image>\n").strip(), *responses)


def _make_outcome(pair: Pair, votes: Sequence[tuple[bool, int | None]]) -> Outcome:
    better = 1 if pair.label == "A" else 2

    def read(*, exchanged: bool) -> tuple[float | None, ...]:
        wanted = 3 - better if exchanged else better
        return tuple(None if answer is None else float(answer == wanted) for e, answer in votes if e == exchanged)

    given, exchanged = read(exchanged=False), read(exchanged=True)
    everything = [*given, *exchanged]
    right, wrong = (sum(value == target for value in everything) for target in (1.0, 0.0))
    in_orders = score_orders(given, exchanged)
    return Outcome(
        group=pair.group,
        label=pair.label,
        given=given,
        exchanged=exchanged,
        verdict=1.0 if right > len(votes) / 2 else 0.0 if wrong > len(votes) / 2 else None,
        consistent=None if None in in_orders or len(in_orders) < 2 else in_orders[0] == in_orders[1],
    )
