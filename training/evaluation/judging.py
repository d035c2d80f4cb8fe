"""Judging many pairs once: every verdict is on disk before the next one counts, and a killed run goes on where it was.

`verdicts.jsonl` has one line per judgement, keyed by what was judged (id, texts, pixels of the pictures) and how (the
options); one for which an expert failed is not kept, so that it is asked again the next time. `judge.json` says who
judged. A folder belongs to one judge with one set of options: another one is refused, because figures of two judges
must not be mixed.
"""

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from tqdm import tqdm

from genrm.errors import GenRMError, InvalidComparisonError
from genrm.evidence import find_failure
from genrm.judge import JudgeOptions
from genrm.media import hash_image
from genrm.prompts import PROMPT_VERSION
from genrm.types import Comparison, Verdict
from training.evaluation.judges import PairJudge
from training.jobs.config import describe_changes
from training.jobs.files import append_json_line, read_json_lines, write_json
from training.sources import Example, Pair, RowError, Skipped, log_skipped

GREY = (128, 128, 128)
_BLANK_SIZE = (224, 224)
_JUDGE_FILE = "judge.json"
_VERDICT_FILE = "verdicts.jsonl"
_KEYS = ("key", "unseen_key")
"""What a judgement is found by: what was judged with its pictures, and without them."""

R = TypeVar("R")
T = TypeVar("T", Example, Pair)


class OtherJudgeError(GenRMError, ValueError):
    """The output folder holds verdicts of another judge or of other options. Name another folder, or that judge."""


@dataclass(slots=True)
class Judging:
    """Judges pairs with one judge and options, never twice what is in its folder. Built by `open_judging`.

    skipped: pairs that could not be judged, each once, with the reason.
    """

    judge: PairJudge
    options: JudgeOptions
    path: Path
    concurrency: int
    skipped: list[Skipped] = field(default_factory=list)
    _known: dict[str, Verdict] = field(default_factory=dict, repr=False)
    _gate: asyncio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.concurrency)
        for row in read_json_lines(self.path):
            self._remember(row, Verdict.model_validate(row["verdict"]))

    async def verdicts(
        self, pairs: Sequence[Pair], *, title: str, options: JudgeOptions | None = None, blank: bool = False
    ) -> list[Verdict | None]:
        """Verdicts of all pairs, in order; None for those that are skipped.

        title: of the progress bar. options: None takes the usual ones. blank: show a grey picture instead of the real
        ones. Raises EngineError if the judge fails; what was judged by then is kept.
        """
        with tqdm(total=len(pairs), desc=title, unit="pair", smoothing=0.05) as bar:

            async def one(pair: Pair) -> Verdict | None:
                verdict = await self.verdict(pair, options, blank=blank)
                bar.update()
                return verdict

            return await gather_or_cancel(one(pair) for pair in pairs)

    def find(self, pair: Pair) -> Verdict | None:
        """The verdict of a pair with the usual options, if it was judged before."""
        try:
            _, keys = _open(pair, self.options, blank=False)
        except RowError:
            keys = _make_keys(pair, self.options)
        return self._recall(keys)

    async def verdict(self, pair: Pair, options: JudgeOptions | None = None, *, blank: bool = False) -> Verdict | None:
        """The verdict of one pair; None if it is skipped. Arguments and errors as for `verdicts`."""
        options = self.options if options is None else options
        async with self._gate:
            try:
                comparison, keys = await asyncio.to_thread(_open, pair, options, blank=blank)
                if (known := self._recall(keys)) is not None:
                    return known
                verdict = await self.judge.judge(comparison, options)
            except (RowError, InvalidComparisonError) as error:
                known = self._recall(_make_keys(pair, options, blank=blank)) if isinstance(error, RowError) else None
                if known is None:
                    self._skip(Skipped(id=pair.id, reason=str(error)))
                return known
            if find_failure(verdict.warnings) is None:
                append_json_line(self.path, {**keys, "id": pair.id, "verdict": verdict.model_dump(mode="json")})
            self._remember(keys, verdict)
            return verdict

    def _remember(self, keys: Mapping[str, Any], verdict: Verdict) -> None:
        self._known |= {keys[name]: verdict for name in _KEYS if name in keys}

    def _recall(self, keys: Mapping[str, str]) -> Verdict | None:
        """The verdict on these pictures; where they can no longer be read, on those that were judged."""
        return self._known.get(keys.get("key", keys["unseen_key"]))

    def _skip(self, row: Skipped) -> None:
        if row.id not in {other.id for other in self.skipped}:
            self.skipped.append(row)
            log_skipped([row])


def open_judging(judge: PairJudge, options: JudgeOptions, folder: Path, *, concurrency: int = 32) -> Judging:
    """Judging into a folder, going on from what is there. judge: started.

    Raises OtherJudgeError if the folder is another judge's.
    """
    now = {"judge": judge.describe(), "options": asdict(options), "prompt_version": PROMPT_VERSION}
    now = json.loads(json.dumps(now))
    path = folder / _JUDGE_FILE
    if path.is_file():
        _refuse_other(json.loads(path.read_text(encoding="utf-8")), now, folder)
    else:
        write_json(path, now)
    return Judging(judge=judge, options=options, path=folder / _VERDICT_FILE, concurrency=concurrency)


async def gather_or_cancel(work: Iterable[Coroutine[Any, Any, R]]) -> list[R]:
    """All results in order; after the first failure, which is raised, nothing goes on behind the caller's back."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def without_images(row: T) -> T:
    """The row with a blank grey picture in place of its own, which is not looked for."""
    return replace(row, load_images=_make_blank)


def _make_blank() -> tuple[Image.Image, ...]:
    return (Image.new("RGB", _BLANK_SIZE, GREY),)


def _open(pair: Pair, options: JudgeOptions, *, blank: bool) -> tuple[Comparison, dict[str, str]]:
    """What is judged, and its keys. Raises RowError."""
    comparison = pair.load()
    keys = _make_keys(pair, options, comparison.images, blank=blank)
    if blank:
        pictures = tuple(Image.new("RGB", image.size, GREY) for image in comparison.images)
        comparison = replace(comparison, images=pictures)
    return comparison, keys


def _make_keys(
    pair: Pair, options: JudgeOptions, images: Sequence[Image.Image] | None = None, *, blank: bool = False
) -> dict[str, str]:
    """Names of one judgement, see `_KEYS`. images: as the pair has them; None if they cannot be read.

    Ids alone will not do: published benchmarks repeat them, and under the same id and texts there may be another
    picture. Grey pictures are one, whatever their size.
    """
    blank = blank or pair.load_images is _make_blank
    parts = [pair.id, pair.question, pair.response_a, pair.response_b, "grey" if blank else "shown", asdict(options)]
    keys = {"unseen_key": _hash(parts)}
    if images is not None:
        keys["key"] = _hash([*parts, *([] if blank else [hash_image(image).hex() for image in images])])
    return keys


def _hash(parts: Sequence[object]) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _refuse_other(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    if what := describe_changes(then, now):
        raise OtherJudgeError(
            f"{folder} holds verdicts of another judge or of other options: {what}. Name another --output, or give the "
            "same judge and options to go on."
        )
