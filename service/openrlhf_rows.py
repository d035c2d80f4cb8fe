"""Reads the rows of OpenRLHF's dialect: which question, which images, which answer.

OpenRLHF sends texts that its chat template has been through and no image. The image therefore comes in the label
(`{"image": "data:…", "question": …}`, for OpenRLHF itself), or in a prompt that is the JSON text of a conversation
(LMM-R1, OpenRLHF-M). What cannot be told for certain is refused, never guessed: a reward for the wrong question trains
a policy for days before anybody notices.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from genrm.judge import Judge
from service.errors import RefusalError
from service.incoming import check_structure
from service.intake import Picture
from service.openrlhf_schemas import RewardRequest
from service.settings import Settings

_ASSISTANT = (
    "<|im_start|>assistant\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<start_of_turn>model\n",
    "<|assistant|>\n",
    "<｜Assistant｜>",
)
"""Where chat templates (Qwen, Llama 3, Gemma, Phi and GLM, DeepSeek) let the answer begin."""
_SPECIAL = r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad)>"
_TEMPLATE = re.compile(rf"{_SPECIAL}|\[INST\]")
_RUN = re.compile(rf"(?:(?:{_SPECIAL})\s*+)++")
_REPEATED = re.compile(r"(<\|[^|<>\s]{1,40}\|>|<[a-z_]{1,40}>)(?:\1)++")
_PLACEHOLDER = re.compile(r"<image>\s*")
_MAX_TEXT_FACTOR = 100
"""Characters of a query or prompt, as a multiple of what its completion may have: room for placeholders and padding."""
_NO_ANSWER = "(no answer)"
"""An empty completion is what an untrained policy may well write, and no judge compares it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One completion. reference: another answer to its question that it is compared with, if there is one."""

    question: str
    pictures: tuple[Picture, ...]
    answer: str
    reference: str | None

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for rows that are compared with each other."""
        return self.question, tuple(picture.content for picture in self.pictures), self.reference


def read_rows(fields: RewardRequest, judge: Judge, settings: Settings) -> tuple[Row, ...]:
    """All rows. Raises RefusalError that names the field and row at fault, and what `Judge.check_text` raises."""
    labels = fields.labels or (None,) * len(fields.query)
    return tuple(
        _read_row(index, query, prompt, _read_label(label, index, settings), judge, settings)
        for index, (query, prompt, label) in enumerate(zip(fields.query, fields.prompts, labels, strict=True))
    )


def _read_row(index: int, query: str, prompt: str, label: Mapping[str, Any], judge: Judge, settings: Settings) -> Row:
    turns = _read_conversation(prompt, index, settings)
    for param, text in ((f"query[{index}]", query), (f"prompts[{index}]", "" if turns else prompt)):
        if len(text) > _MAX_TEXT_FACTOR * settings.max_text_characters:
            raise RefusalError(
                "text_too_long",
                f"Field {param!r} has {len(text):,} characters; the limit is "
                f"{_MAX_TEXT_FACTOR * settings.max_text_characters:,}. Shorten it, or raise GENRM_MAX_TEXT_CHARACTERS.",
                param=param,
            )
    question = label.get("question") or (_last_question(turns) if turns else _plain_question(prompt, index))
    judge.check_text(question, name=f"The question of row {index}", param=f"prompts[{index}]")
    answer = _cut_answer(query, prompt, turns, index).strip() or _NO_ANSWER
    judge.check_text(answer, name=f"The completion of row {index}", param=f"query[{index}]")
    reference = label.get("reference")
    if reference is not None:
        judge.check_text(reference, name=f"The reference of row {index}", param=f"labels[{index}].reference")
    pictures = _pictures_of_label(label, index) or _pictures_of_turns(turns, index)
    if not pictures:
        raise RefusalError(
            "missing_field",
            f"Row {index} has no image; OpenRLHF sends none itself. Give it in the label, "
            '{"image": "data:image/png;base64,…", "question": "…"}, or in a prompt that is the JSON text of a '
            "conversation.",
            param=f"labels[{index}]",
        )
    if len(pictures) > settings.max_images:
        raise RefusalError(
            "too_many_images",
            f"Row {index} has {len(pictures)} images; the limit is {settings.max_images}. Send fewer, or raise "
            "GENRM_MAX_IMAGES.",
            param=pictures[0].param.removesuffix("[0]"),
        )
    return Row(question=question.strip(), pictures=pictures, answer=answer, reference=reference)


def _read_label(label: object, index: int, settings: Settings) -> Mapping[str, Any]:
    """The label's fields; none where it is something else."""
    if isinstance(label, str) and label.lstrip().startswith("{"):
        label = _parse(label, settings)
    if not isinstance(label, dict):
        return {}
    for name in ("question", "reference"):
        if not isinstance(label.get(name), str | None):
            _refuse(f"labels[{index}].{name}", "it takes a text")
    return label


def _read_conversation(prompt: str, index: int, settings: Settings) -> Sequence[Mapping[str, Any]]:
    """The turns of a prompt that is the JSON text of a conversation; none where it is a plain text."""
    if not prompt.lstrip().startswith("["):
        return ()
    turns = _parse(prompt, settings)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) and "role" in turn for turn in turns):
        return ()
    for turn in turns:
        parts = turn.get("content")
        if isinstance(parts, list) and not all(isinstance(part, dict) for part in parts):
            _refuse(f"prompts[{index}]", "the parts of a turn's content are objects with a 'type'")
    return turns


def _parse(text: str, settings: Settings) -> object:
    """What a JSON text stands for; None where it is no JSON."""
    check_structure(text.encode("utf-8", "surrogatepass"), settings, num_texts=3)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _last_question(turns: Sequence[Mapping[str, Any]]) -> str:
    for turn in reversed(turns):
        if turn["role"] == "user":
            content = turn.get("content")
            if isinstance(content, str):
                return _PLACEHOLDER.sub("", content).strip()
            texts = [part.get("text") for part in _parts_of(turn) if part.get("type") == "text"]
            return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def _plain_question(prompt: str, index: int) -> str:
    if _TEMPLATE.search(prompt):
        raise RefusalError(
            "missing_field",
            f"The prompt of row {index} has been through a chat template, so what was asked is not certain. Give the "
            "question in the label, "
            '{"image": "data:image/png;base64,…", "question": "…"}.',
            param=f"labels[{index}].question",
        )
    return _PLACEHOLDER.sub("", prompt).strip()


def _cut_answer(query: str, prompt: str, turns: Sequence[Mapping[str, Any]], index: int) -> str:
    """The completion inside of a query: what follows the prompt, without the tokens that end it.

    Vision-language models repeat a picture's placeholder in the query as often as it has tokens; so runs of one are
    taken as one. Where the prompt is not part of the query, a template's marker is looked for, as LMM-R1's verifier
    does; the one behind all turns of the prompt, since a policy may write such a marker itself.
    """
    if not turns:
        for whole, part in ((query, prompt), (_REPEATED.sub(r"\1", query), _REPEATED.sub(r"\1", prompt))):
            if part and (start := whole.find(part)) >= 0:
                return _drop_end(whole[start + len(part) :])
    for marker in _ASSISTANT:
        num_before = sum(turn["role"] == "assistant" for turn in turns) if turns else max(0, prompt.count(marker) - 1)
        pieces = query.split(marker, num_before + 1)
        if len(pieces) == num_before + 2:
            return _drop_end(pieces[-1])
    raise RefusalError(
        "invalid_value",
        f"In the query of row {index} the completion cannot be told from the prompt: it does not contain the text of "
        f"prompts[{index}], nor a beginning of the assistant's turn that is known here. Send as 'query' the prompt "
        "with its completion.",
        param=f"query[{index}]",
    )


def _drop_end(text: str) -> str:
    """A completion without the special tokens at its end."""
    last = deque(_RUN.finditer(text), maxlen=1)
    return text[: last[0].start()] if last and last[0].end() == len(text) else text


def _pictures_of_label(label: Mapping[str, Any], index: int) -> tuple[Picture, ...]:
    images, name = label.get("images"), f"labels[{index}].images"
    if images is None:
        images, name = label.get("image"), f"labels[{index}].image"
    if images is None:
        return ()
    if isinstance(images, list):
        return tuple(_picture(image, f"{name}[{number}]") for number, image in enumerate(images))
    return (_picture(images, name),)


def _pictures_of_turns(turns: Iterable[Mapping[str, Any]], index: int) -> tuple[Picture, ...]:
    values = [
        part.get("image") if part.get("type") == "image" else part.get("image_url")
        for turn in turns
        for part in _parts_of(turn)
        if part.get("type") in ("image", "image_url")
    ]
    return tuple(_picture(value, f"prompts[{index}]") for value in values)


def _parts_of(turn: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = turn.get("content")
    return content if isinstance(content, list) else ()


def _picture(value: object, param: str) -> Picture:
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str):
        _refuse(param, "an image is a data URL 'data:image/png;base64,…', or {'url': one}")
    return Picture(param=param, content=url)


def _refuse(param: str, allowed: str) -> NoReturn:
    raise RefusalError("invalid_value", f"Field {param!r} was given another kind of value; {allowed}.", param=param)
