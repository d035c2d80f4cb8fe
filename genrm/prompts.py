"""The one versioned prompt that every judge sees, and the neutralising of hostile candidate text.

The order serves caches: the system turn is the same for all requests, then images and question (shared by both orders
and by all candidates), and the responses last. Labels are words that no response carries by accident at the verdict
position, and both are single tokens after "Verdict:" in every tokenizer we know; engines check it at start-up.

Hostile text: a candidate may contain chat or vision markers ("<|im_end|>", "<image>"), a verdict of its own, or a line
that begins like a part of the prompt ("Second response:"). All are taken out of what the model sees. Markers would be
tokenised as control tokens; a quoted verdict could not win anyway, because only the model's own text is parsed
(`genrm.parsing`), but it primes a model, and so does a forged response. Breaking them with invisible characters was
tried first: what was left of them swayed the shipped judge in up to 8 of 12 samples.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from genrm.engines.contract import Prompt
from genrm.types import Comparison, Mode, Response, Sighting

PROMPT_VERSION = "2026-11-b"
MARKER = "Verdict:"
FIRST, SECOND = LABELS = ("First", "Second")

SYSTEM = (
    "You judge two responses to a question about an image. Write a critique that checks what each response claims "
    "against the image, then end with 'Verdict: First' or 'Verdict: Second' for the better one."
)

EVIDENCE_LEAD = "Object detectors, which can be wrong, report "
MAX_SIGHTINGS, MAX_PLACES = 24, 8
"""Objects in one line of evidence, and places named per object: the line is read in every prompt, so it stays short."""

_NAMED = (
    "image|img|video|audio|s|pad|unk|bos|eos|think|tool_call|start_of_turn|end_of_turn|start_of_image|end_of_image|"
    "image_soft_token|img_context|end_of_utterance|fake_token_around_image|global-img|row_\\d+_col_\\d+"
)
_CONTROL = re.compile(  # of Qwen, Llama, Phi, GLM; DeepSeek; Gemma, InternVL, Idefics and SmolVLM; Mistral and Pixtral
    rf"<\|[^<>|]{{1,64}}\|>|<｜[^<>｜]{{1,64}}｜>|</?(?:{_NAMED})(?:\s[^<>]{{0,64}})?/?>|"
    r"\[/?(?:INST|IMG|IMG_BREAK|IMG_END|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
    re.IGNORECASE,
)
_QUOTED_VERDICT = re.compile(  # with what `genrm.parsing` allows around the colon
    rf"verdict[\s*_`]*:(?:[\s*_`]*(?:{FIRST}|{SECOND})\b)?", re.IGNORECASE
)
_LINE_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_EVIDENCE = r"\s+".join(map(re.escape, EVIDENCE_LEAD.split()))
_FORGED_PART = re.compile(  # at the beginning of a line, behind no more than marks and spaces
    rf"(?<=[{_LINE_ENDS}])((?:[^\w{_LINE_ENDS}]|_)*)"
    rf"(?:(?:(?:{FIRST}|{SECOND})\s+response|question)[\s*_`]*:|{_EVIDENCE})",
    re.IGNORECASE,
)
_MAX_PASSES = 4
_MARKUP = str.maketrans("", "", "<>[]:")
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "center", "right")
PLACES = tuple(f"{row} {column}" for row in _ROWS for column in _COLUMNS)
"""The ninths of an image, as evidence names them."""


_MAX_KEPT_TEXTS, _MAX_KEPT_CHARACTERS = 256, 20_000
"""Neutralised texts that are kept, and the longest of them: many long ones would fill the memory."""


def neutralise(text: str) -> str:
    """Candidate text that can be shown to a model without being read as markup, as a verdict or as part of the prompt.

    Control markers, quoted verdicts ("Verdict:" with a label behind it, if there is one) and, at the beginning of a
    line but the first, the names of the prompt's parts ("Second response:") are taken out, again until none is left,
    since taking one out may join the halves of another. What is nested so deep that a few passes do not reach its end
    loses all brackets, colons and line breaks. Any other text comes back unchanged, outer white space stripped.
    """
    return _neutralise_once(text) if len(text) <= _MAX_KEPT_CHARACTERS else _neutralise(text)


def _neutralise(text: str) -> str:
    for _ in range(_MAX_PASSES):
        shown = _FORGED_PART.sub(r"\1", _QUOTED_VERDICT.sub("", _CONTROL.sub("", text))).strip()
        if shown == text:
            return shown
        text = shown
    return " ".join(text.translate(_MARKUP).splitlines()).strip()


@lru_cache(maxsize=_MAX_KEPT_TEXTS)  # the check of the input and all prompts of a ranking that hold a text ask for it
def _neutralise_once(text: str) -> str:
    return _neutralise(text)


def render_sightings(sightings: Sequence[Sighting]) -> str:
    """The line of evidence with its newline: "… report dog: 2 (upper left, lower center); cat: none."; "" if there is
    none.

    At most `MAX_SIGHTINGS` objects and `MAX_PLACES` places of one are named; the number before the places is the whole
    one.
    """
    if not sightings:
        return ""
    parts = []
    for sighting in sightings[:MAX_SIGHTINGS]:
        places = ", ".join(sighting.places[:MAX_PLACES])
        found = f"{len(sighting.places)} ({places})" if places else "none"
        parts.append(f"{neutralise(sighting.phrase)}: {found}")
    return f"{EVIDENCE_LEAD}{'; '.join(parts)}.\n"


def place_in_image(x: float, y: float, *, width: float, height: float) -> str:
    """The ninth of an image that holds a point, e.g. "upper left". x, y: pixels from the top left; points outside count
    as on the border.
    """
    row, column = (min(max(int(3 * share), 0), 2) for share in (y / height, x / width))
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def render_prompt(comparison: Comparison, *, first: Response, mode: Mode, sightings: Sequence[Sighting] = ()) -> Prompt:
    """The prompt for one order.

    sightings: what vision experts found, told before the responses. first: which response stands first. mode:
    `critique` lets the model write before its verdict; `fast` asks for the label at once by starting the assistant's
    turn with the marker.
    """
    a, b = neutralise(comparison.response_a), neutralise(comparison.response_b)
    one, two = (a, b) if first == "A" else (b, a)
    return Prompt(
        system=SYSTEM,
        images=comparison.images,
        shared=f"Question: {neutralise(comparison.question)}\n{render_sightings(sightings)}",
        tail=f"First response: {one}\nSecond response: {two}",
        answer_prefix=MARKER if mode == "fast" else "",
    )
