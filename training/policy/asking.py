"""Asking a policy many questions once: every answer is on disk before it counts, and a killed run goes on where it was.

Answers are greedy. `answers.jsonl` has one line per picture and question; `policy.json` says who answered and how. A
folder belongs to one policy and one set of sources: another one is refused, because answers of two must not be mixed.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image
from tqdm import tqdm

from genrm.engines.contract import Engine, Prompt, Sampling
from genrm.errors import GenRMError, InvalidComparisonError
from genrm.fingerprints import fingerprint_weights
from training.engines import EngineChoice, open_engine
from training.jobs.config import describe_changes
from training.jobs.files import append_json_line, read_json, read_json_lines, write_json
from training.policy.questions import Question
from training.sources import RowError, Skipped, log_skipped

ANSWERS, POLICY = "answers.jsonl", "policy.json"
_BLOCK = 64
"""Questions per call of the engine: what a kill costs at most."""

_Picture = tuple[str, str]
"""Identity of a picture: its source, and its name there."""


class OtherPolicyError(GenRMError, ValueError):
    """The output folder holds answers of another policy or to other sources. Name another folder, or those."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the policy said. is_cut: it was still speaking at `max_tokens`."""

    text: str
    is_cut: bool


@dataclass(slots=True)
class Answers:
    """The answers of one policy in a folder. Built by `open_answers`.

    skipped: questions whose picture cannot be read or that the model cannot take, each once, with the reason.
    """

    path: Path
    choice: EngineChoice
    max_tokens: int
    skipped: list[Skipped] = field(default_factory=list)
    _known: dict[str, Answer] = field(default_factory=dict, repr=False)

    def find(self, question: Question) -> Answer | None:
        """The answer to a question; None if it was not asked or was skipped."""
        return self._known.get(_key(question))

    def ask(self, questions: Sequence[Question]) -> None:
        """Ask what has no answer yet, each picture and text once. The model is loaded only if there is something.

        Raises ModelLoadError, and EngineError if the model fails; what was answered by then is kept.
        """
        todo = {_key(question): question for question in questions if self.find(question) is None}
        if todo:
            asyncio.run(self._ask(list(todo.values()), num_known=len({*map(_key, questions)}) - len(todo)))

    async def _ask(self, questions: Sequence[Question], *, num_known: int) -> None:
        engine = open_engine(self.choice)
        await engine.start()
        blocks = [questions[i : i + _BLOCK] for i in range(0, len(questions), _BLOCK)]
        try:
            with tqdm(
                total=num_known + len(questions), initial=num_known, desc="answers", unit="answer", smoothing=0.05
            ) as bar:
                loading = asyncio.create_task(asyncio.to_thread(_load, blocks[0]))
                for number, block in enumerate(blocks):
                    pictures = await loading
                    if number + 1 < len(blocks):  # pictures of the next block, while the engine works on this one
                        loading = asyncio.create_task(asyncio.to_thread(_load, blocks[number + 1]))
                    await self._ask_block(engine, block, pictures)
                    bar.update(len(block))
        finally:
            await engine.close()

    async def _ask_block(
        self, engine: Engine, block: Sequence[Question], pictures: Mapping[_Picture, "tuple[Image, ...] | str"]
    ) -> None:
        asked: list[tuple[Question, Prompt]] = []
        for question in block:
            images = pictures[question.source, question.image]
            if isinstance(images, str):
                self._skip(Skipped(id=question.id, reason=images))
            else:
                asked.append((question, Prompt(system="", images=images, shared=question.text, tail="")))
        for question, answer in await self._complete(engine, asked):
            self._keep(question, answer)

    async def _complete(
        self, engine: Engine, asked: Sequence[tuple[Question, Prompt]]
    ) -> list[tuple[Question, Answer]]:
        """The answers to a block; where the model refuses one question, the others are asked alone."""
        sampling = Sampling(temperature=0.0, max_tokens=self.max_tokens, labels=())
        try:
            completions = await engine.complete([prompt for _, prompt in asked], sampling)
        except InvalidComparisonError as error:
            if len(asked) == 1:
                self._skip(Skipped(id=asked[0][0].id, reason=str(error)))
                return []
            return [found for one in asked for found in await self._complete(engine, [one])]
        return [
            (question, Answer(text=completion.text.strip(), is_cut=completion.finish_reason == "length"))
            for (question, _), completion in zip(asked, completions, strict=True)
        ]

    def _keep(self, question: Question, answer: Answer) -> None:
        row = {"key": _key(question), "id": question.id, "question": question.text, "answer": answer.text}
        append_json_line(self.path, row | {"is_cut": answer.is_cut})
        self._known[_key(question)] = answer

    def _skip(self, row: Skipped) -> None:
        self.skipped.append(row)
        log_skipped([row])


def open_answers(choice: EngineChoice, folder: Path, *, max_tokens: int, sources: Mapping[str, Any]) -> Answers:
    """The answers in a folder, those to come included. sources: what the questions are made from, ready for JSON.

    Raises OtherPolicyError if the folder is another policy's.
    """
    now: dict[str, Any] = {"policy": describe_policy(choice), "max_tokens": max_tokens, "sources": dict(sources)}
    then = read_json(folder / POLICY)
    if then is None:
        write_json(folder / POLICY, now)
    else:
        _refuse_other(then, json.loads(json.dumps(now)), folder)
    known = {row["key"]: Answer(text=row["answer"], is_cut=row["is_cut"]) for row in read_json_lines(folder / ANSWERS)}
    return Answers(folder / ANSWERS, choice, max_tokens, _known=known)


def describe_policy(choice: EngineChoice) -> dict[str, Any]:
    """What makes a policy's answers its own: of weights in folders their contents, wherever they lie."""
    names = [choice.model or "the server's"] if choice.url else [choice.model_name, choice.adapter]
    prints = [fingerprint_weights(Path(name)) or name for name in names if name]
    return {"model": "+".join(Path(name).name for name in names if name), "weights": prints}


def _load(block: Sequence[Question]) -> dict[_Picture, "tuple[Image, ...] | str"]:
    """The pictures of a block by identity, or why there is none. Each is read once, and computed once."""
    pictures: dict[_Picture, tuple[Image, ...] | str] = {}
    for question in block:
        picture = (question.source, question.image)
        if picture not in pictures:
            try:
                pictures[picture] = question.load_images()
            except RowError as error:
                pictures[picture] = str(error)
    return pictures


def _key(question: Question) -> str:
    """Names one question about one picture, whatever it is asked for."""
    parts = (question.source, question.image, question.text)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def _refuse_other(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    if what := describe_changes(then, now):
        raise OtherPolicyError(
            f"{folder} holds answers of another policy or to other questions: {what}. Name another output folder, or "
            "give the same policy and sources to go on."
        )
