"""How well claims are read off sentences that somebody labelled by hand, written without regard to the rules.

`data/claims.jsonl`: 200 sentences in the style of COCO captions and of VL-RewardBench answers. The rules were made with
an eye on rows 1–100 and on `data/claims_dev.jsonl` (60 sentences of our own). Rows 101–200 were measured once, when the
rules were done: precision 0.966, recall 0.950, polarity 0.988, count 0.949. Faults found by it were mended afterwards
(tag questions, "no doubt", "there isn't one", …), so only those figures say what to expect of unseen text.

A claim is right if name and polarity are; counts are measured on affirmed claims that were found.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from experts.claims import extract_claims
from experts.lexicon import default_lexicon

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A text with its claims: name → polarity and count."""

    text: str
    claims: dict[str, tuple[str, int | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Shares in [0, 1]. polarity: of the claims found by name, those with the right polarity."""

    precision: float
    recall: float
    polarity: float
    count: float


def load_sentences(name: str) -> list[Sentence]:
    rows = [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    return [
        Sentence(text=row["text"], claims={c["name"]: (c["polarity"], c["count"]) for c in row["claims"]})
        for row in rows
    ]


def measure(sentences: Iterable[Sentence]) -> Figures:
    read = [({c.name: (c.polarity, c.count) for c in extract_claims(s.text)}, s.claims) for s in sentences]
    pairs = [(found[name], gold[name]) for found, gold in read for name in found.keys() & gold.keys()]
    right = [(found, gold) for found, gold in pairs if found[0] == gold[0]]
    counts = [found[1] == gold[1] for found, gold in right if gold[0] == "affirmed"]
    return Figures(
        precision=len(right) / sum(len(found) for found, _ in read),
        recall=len(right) / sum(len(gold) for _, gold in read),
        polarity=len(right) / len(pairs),
        count=sum(counts) / len(counts),
    )


@pytest.mark.parametrize("name", ["claims.jsonl", "claims_dev.jsonl"])
def test_every_label_follows_the_labelling_rules(name: str) -> None:
    for sentence in load_sentences(name):
        for claimed, (polarity, count) in sentence.claims.items():
            assert claimed in default_lexicon().names, sentence.text
            assert polarity in ("affirmed", "denied"), sentence.text
            assert count is None or (polarity == "affirmed" and count >= 1), sentence.text


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("claims.jsonl", slice(None)),
        ("claims.jsonl", slice(0, 100)),
        ("claims.jsonl", slice(100, 200)),
        ("claims_dev.jsonl", slice(None)),
    ],
    ids=["all 200", "rows 1-100, seen", "rows 101-200, held out", "our own 60"],
)
def test_hand_labelled_sentences_are_read_as_well_as_promised(name: str, rows: slice) -> None:
    figures = measure(load_sentences(name)[rows])
    print(figures)
    assert figures.precision >= 0.95
    assert figures.recall >= 0.92
    assert figures.polarity >= 0.95
    assert figures.count >= 0.9
