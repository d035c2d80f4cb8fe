"""Makes the pairs of a block of rows: asks the editor, refuses what must be refused, tries again, and counts.

An attempt at a reference ends in one fate: the first check that all its candidates fail, or `kept`. What is refused is
tried again with another kind of error, or with the same and another seed where there is no other. The same block after
the same earlier blocks gives the same pairs.
"""

import asyncio
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from PIL.Image import Image

from experts.panel import ExpertPanel
from genrm.evidence import Examination
from genrm.types import Comparison
from training.preference_rows import Row, encode_images, make_preference_row
from training.preferences.filters import Outcome, check_pair
from training.preferences.repetition import Identity, SeenRows, identify, words_of
from training.sources import SOURCE_ROW, Example, RowError, Skipped, log_skipped
from training.vapr.balance import Difference, Ledger, describe_difference
from training.vapr.editors import Editor, EditRequest, Proposal, ReplyFate
from training.vapr.kinds import KindChooser
from training.vapr.limits import CountTokens, LimitFate, Limits, check_limits
from training.vapr.verifying import Edited, EditVerifier, VerifierFate
from training.vapr.yes_no import BinaryPair, YesNoMaker, choose_word, count_words

ExpertFate = Literal["error is in the image", "reference not borne out", "answer not certain", "not fully examined"]
Fate = Literal["kept", "repetition"] | ReplyFate | LimitFate | VerifierFate | ExpertFate
FINAL: ExpertFate = "reference not borne out"
"""After this no other error is tried: the reference itself is doubtful."""

TEXTS = (
    "id", SOURCE_ROW, "group", "error_kind", "editor", "question_kind", "passed", "evidence_chosen",
    "evidence_rejected", "sightings",
)  # fmt: skip
NUMBERS = ("attempts",)
"""Columns beside TRL's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What was accepted before, as far as later choices depend on it."""

    kind: str
    chosen: str
    rejected: str


@dataclass(kw_only=True, slots=True)
class _Item:
    """One pair to be made."""

    id: str
    example: Example
    reference: str
    images: tuple[Image, ...]
    kinds: Sequence[str]
    texts: set[str]
    """What was proposed for this reference, as its words; shared by all items of one row."""
    tried: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """A candidate that kept the limits."""

    item: _Item
    kind: str
    text: str
    difference: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looked:
    """What experts found about a pair, as what it passed, and why it must be refused, if it must."""

    examination: Examination
    passed: Outcome
    fate: ExpertFate | None = None


@dataclass(kw_only=True, slots=True)
class Made:
    """What came of a block. rows: for Parquet. fates: by kind, how many attempts met which. counts: of source rows.

    refused: every candidate that was refused, and why.
    """

    rows: list[Row] = field(default_factory=list)
    fates: dict[str, Counter[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, object]] = field(default_factory=list)

    def count(self, item_id: str, kind: str, text: str | None, fate: Fate) -> None:
        """Note the end of an attempt."""
        self.fates.setdefault(kind, Counter())[fate] += 1
        if fate != "kept":
            self.refused.append({"id": item_id, "error_kind": kind, "text": text, "because": fate})


class PairMaker:
    """Makes pairs. editor: started. limits, verifier, panel, yes_no: None leaves that check or that part out.

    attempts: per pair at most. pairs_per_row: edits per reference. share_yes_no: of rows that get a yes-or-no question.
    accepted: pairs of earlier blocks in order, which balance and kinds go on from. known: identities of their rows.
    """

    def __init__(
        self,
        editor: Editor,
        *,
        limits: Limits | None,
        count_tokens: CountTokens,
        verifier: EditVerifier | None,
        panel: ExpertPanel | None,
        yes_no: YesNoMaker | None,
        share_yes_no: float = 0.0,
        attempts: int,
        pairs_per_row: int = 1,
        seed: int = 0,
        accepted: Iterable[Pair] = (),
        known: Iterable[Identity] = (),
    ) -> None:
        self._editor, self._limits, self._count_tokens = editor, limits, count_tokens
        self._verifier, self._panel, self._yes_no = verifier, panel, yes_no
        self._share_yes_no, self._attempts = share_yes_no, attempts
        self._pairs_per_row, self._seed = pairs_per_row, seed
        self._ledger, self._chooser, self._words = Ledger(), KindChooser(), Counter[str]()
        for pair in accepted:
            self._remember(pair.kind, describe_difference(pair.chosen, pair.rejected), pair.chosen)
        self._seen = SeenRows(known)
        self.identities: list[Identity] = []

    async def make(self, examples: Sequence[Example]) -> Made:
        """The pairs of a block. Raises EngineError."""
        made = Made()
        rows = self._read(examples, made)
        pending = [item for row in rows for item in self._plan(*row)]
        for attempt in range(1, self._attempts + 1):
            if not pending:
                break
            pending = await self._try(pending, made, attempt=attempt)
        made.counts["pair given up"] += len(pending)
        if self._yes_no is not None:
            await self._ask_yes_no(rows, made)
        return made

    def _read(self, examples: Sequence[Example], made: Made) -> list[tuple[Example, str, tuple[Image, ...]]]:
        """The rows with image and reference that repeat none before."""
        usable: list[tuple[Example, str, tuple[Image, ...]]] = []
        skipped: list[Skipped] = []
        for example in examples:
            try:
                if example.reference is None:
                    raise RowError("it has no reference answer.")
                images = example.load_images()
            except RowError as error:
                skipped.append(Skipped(id=example.id, reason=str(error)))
                continue
            identity = identify((example.question, example.reference), images)
            if not self._seen.add(identity):
                made.counts["row repeats another"] += 1
                continue
            self.identities.append(identity)
            usable.append((example, example.reference, images))
        log_skipped(skipped)
        made.counts["row unusable"] += len(skipped)
        made.counts["row used"] += len(usable)
        return usable

    def _plan(self, example: Example, reference: str, images: tuple[Image, ...]) -> list[_Item]:
        num_tokens = self._count_tokens(reference)
        most = self._limits.most_added_tokens(num_tokens) if self._limits is not None else num_tokens
        kinds = self._editor.list_kinds(example.question, reference, most_added_words=most)
        texts = {words_of(reference)}
        return [
            _Item(id=f"{example.id}#{n}", example=example, reference=reference, images=images, kinds=kinds, texts=texts)
            for n in range(self._pairs_per_row)
        ]

    async def _try(self, items: Sequence[_Item], made: Made, *, attempt: int) -> list[_Item]:
        """One attempt at each item; those that may be tried again."""
        requests = []
        for item in items:
            rng = random.Random(f"{self._seed} {item.id} {attempt}")
            kind = self._chooser.choose(item.kinds, item.tried, rng)
            item.tried.append(kind)
            self._chooser.counts[kind] += 1  # taken back unless the pair is kept
            requests.append(
                EditRequest(
                    question=item.example.question,
                    reference=item.reference,
                    kind=kind,
                    images=item.images,
                    seed=_seed(self._seed, item.id, attempt),
                )
            )
        proposals = await self._editor.edit(requests)
        found = [
            self._select(item, request.kind, proposal, made)
            for item, request, proposal in zip(items, requests, proposals, strict=True)
        ]
        verified = await self._verify([attempted for attempted in found if attempted is not None])
        examined = await asyncio.gather(*(self._examine(a) for a, fate in verified if fate is None))
        passing = iter(examined)
        again = [item for item, attempted in zip(items, found, strict=True) if attempted is None]
        for attempted, refusal in verified:
            looked = next(passing) if refusal is None else None
            fate: Fate | None = refusal if looked is None else looked.fate
            made.count(attempted.item.id, attempted.kind, attempted.text, fate or "kept")
            if looked is not None and fate is None:
                made.rows.append(self._row(attempted, looked, attempt))
                self._words.update(count_words([attempted.item.reference]))
                continue
            self._ledger.add(attempted.difference, times=-1)
            self._chooser.counts[attempted.kind] -= 1
            if fate != FINAL:
                again.append(attempted.item)
        return again

    def _select(self, item: _Item, kind: str, proposal: Proposal, made: Made) -> _Attempt | None:
        """The candidate that keeps the limits and balances the words best, noted as if it were kept; None if none."""
        best: _Attempt | None = None
        fates: list[tuple[Fate, str | None]] = [(fate, None) for fate in proposal.fates]
        cost = float("inf")
        for text in proposal.texts:
            if words_of(text) in item.texts:
                fates.insert(0, ("unchanged" if words_of(text) == words_of(item.reference) else "repetition", text))
                continue
            limit: LimitFate | None = None
            if self._limits is not None:
                limit = check_limits(item.reference, text, self._limits, self._count_tokens)
            if limit is not None:
                fates.insert(0, (limit, text))
                continue
            difference = describe_difference(item.reference, text)
            own_cost = self._ledger.cost(difference)
            if own_cost < cost:
                best, cost = _Attempt(item=item, kind=kind, text=text, difference=difference), own_cost
        if best is None:
            fate, refused = fates[0] if fates else ("no candidate", None)
            made.count(item.id, kind, refused, fate)
            self._chooser.counts[kind] -= 1
            return None
        item.texts.add(words_of(best.text))
        self._ledger.add(best.difference)
        return best

    async def _verify(self, attempts: Sequence[_Attempt]) -> list[tuple[_Attempt, VerifierFate | None]]:
        if self._verifier is None:
            return [(attempt, None) for attempt in attempts]
        edits = [
            Edited(question=a.item.example.question, reference=a.item.reference, text=a.text, images=a.item.images)
            for a in attempts
        ]
        return list(zip(attempts, await self._verifier.check(edits), strict=True))

    async def _examine(self, attempt: _Attempt) -> _Looked:
        item = attempt.item
        return await self._look(item.images, item.example.question, item.reference, attempt.text, is_certain=True)

    async def _look(
        self, images: tuple[Image, ...], question: str, chosen: str, rejected: str, *, is_certain: bool
    ) -> _Looked:
        """What the experts say of a pair. is_certain: whether it is right as far as anybody knows without them."""
        if self._panel is None:
            return _Looked(examination=Examination(), passed="not-checkable")
        examination = await self._panel.examine(
            Comparison(images=images, question=question, response_a=chosen, response_b=rejected)
        )
        outcome = check_pair(examination.evidence)
        fate: ExpertFate | None = None
        if examination.warnings:  # an expert that failed has contradicted nobody, which must not count as passing
            fate = "not fully examined"
        elif outcome == "chosen-not-borne-out":
            fate = FINAL
        elif outcome == "error-is-in-image":
            fate = "error is in the image"
        elif outcome == "not-checkable" and not is_certain:
            fate = "answer not certain"
        return _Looked(examination=examination, passed=outcome, fate=fate)

    async def _ask_yes_no(self, rows: Sequence[tuple[Example, str, tuple[Image, ...]]], made: Made) -> None:
        """One question more for a share of the rows. One after the other, since each answer depends on those before."""
        assert self._yes_no is not None
        for example, reference, images in rows:
            rng = random.Random(f"{self._seed} {example.id} yes-no")
            if rng.random() >= self._share_yes_no:
                continue
            is_yes = choose_word(self._words, rng)
            pairs = self._yes_no.list_pairs(example.question, reference, is_yes=is_yes, rng=rng)
            if not pairs:
                made.counts[f"no object to ask for whose answer is {'yes' if is_yes else 'no'}"] += 1
                continue
            differences = [describe_difference(pair.chosen, pair.rejected) for pair in pairs]
            pair, difference = min(zip(pairs, differences, strict=True), key=lambda each: self._ledger.cost(each[1]))
            name = f"{example.id}#yes-no"
            looked = await self._look(images, pair.question, pair.chosen, pair.rejected, is_certain=pair.is_said)
            made.count(name, "yes-no", pair.rejected, looked.fate or "kept")
            if looked.fate is None:
                self._remember("yes-no", difference, pair.chosen)
                made.rows.append(_binary_row(name, example, images, pair, looked))

    def _remember(self, kind: str, difference: Difference, chosen: str) -> None:
        self._ledger.add(difference)
        self._chooser.counts[kind] += 1
        self._words.update(count_words([chosen]))

    def _row(self, attempt: _Attempt, looked: _Looked, number: int) -> Row:
        item = attempt.item
        return make_preference_row(
            images=encode_images(item.images),
            question=item.example.question,
            chosen=item.reference,
            rejected=attempt.text,
            id=item.id,
            error_kind=attempt.kind,
            editor=self._editor.name,
            question_kind="source",
            attempts=float(number),
            **_found(item.example, looked),
        )


def _binary_row(
    name: str,
    example: Example,
    images: tuple[Image, ...],
    pair: BinaryPair,
    looked: _Looked,
) -> Row:
    return make_preference_row(
        images=encode_images(images),
        question=pair.question,
        chosen=pair.chosen,
        rejected=pair.rejected,
        id=name,
        error_kind="existence",
        editor="yes-no questions",
        question_kind="yes-no",
        attempts=1.0,
        **_found(example, looked),
    )


def _found(example: Example, looked: _Looked) -> dict[str, str]:
    evidence = looked.examination.evidence.model_dump(mode="json")
    return {
        SOURCE_ROW: example.id,
        "group": str(example.record.get("group") or ""),
        "passed": looked.passed,
        "evidence_chosen": json.dumps(evidence["A"]),
        "evidence_rejected": json.dumps(evidence["B"]),
        "sightings": json.dumps([asdict(sighting) for sighting in looked.examination.sightings]),
    }


def _seed(*parts: object) -> int:
    """A seed of 31 bits for these values."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()) >> 1
