"""Finding the verdict in what a model wrote.

The *last* legal verdict wins: a model that weighs "Verdict: First" and then ends with "Verdict: Second" says Second.
Only the model's own text is read here, never a response, so a verdict that a response quotes cannot count. A text
without a legal verdict gives `label=None`: that is a status for others to report, never a score.

What counts as legal is deliberately narrow: the marker with its colon, then a label as a whole word, with any mixture
of case, white space, quotes and Markdown emphasis around both. An offer of several labels ("First or Second", as when
the instruction is repeated) is no choice and is passed over, and so are "First of all" and "First-rate".

That the last one wins is the rule of inspect_ai's scorers; the position in the text is ours, because engines need it
to find the token whose probability they report.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from genrm.prompts import LABELS, MARKER

_EMPHASIS = "*_`"
_LINE_MARKS = "#>*_`- \t"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedText:
    """A model's text, taken apart."""

    critique: str
    """What stands before the last verdict, without the emphasis or heading marks that open the verdict line; the whole
    text if there is no verdict. Outer white space is stripped."""
    label: str | None
    """The label of the last legal verdict, spelt as in `labels`. None: the text holds no legal verdict."""
    label_start: int | None
    """Index in the text of the label's first character. None without a verdict."""


def parse_verdict(text: str, *, marker: str = MARKER, labels: Sequence[str] = LABELS) -> ParsedText:
    """The last legal verdict in `text`, and the critique before it.

    text: what the model wrote, with `Prompt.answer_prefix` put back in front of it. marker: what announces a verdict,
    ending in a colon. labels: the legal words, at least one.
    """
    verdicts = list(_verdict_pattern(marker, tuple(labels)).finditer(text))
    if not verdicts:
        return ParsedText(critique=text.strip(), label=None, label_start=None)
    last = verdicts[-1]
    found = last.group(1).casefold()
    label = next(label for label in labels if label.casefold() == found)
    return ParsedText(critique=_text_before(text, last.start()), label=label, label_start=last.start(1))


@lru_cache(maxsize=16)
def _verdict_pattern(marker: str, labels: tuple[str, ...]) -> re.Pattern[str]:
    """Repetitions are bounded, so that a hostile text cannot make the search slow.

    Letters match in ASCII only (`(?a:…)`): otherwise a dotless "ı" would pass for an "i" and name no label.
    """
    word = f"(?a:{re.escape(marker.strip().removesuffix(':'))})"
    label = f"(?a:{'|'.join(re.escape(label) for label in labels)})"
    wrapping = r"[\s*_`\"'“”‘’(\[]{0,12}"
    return re.compile(
        rf"(?<![^\W_]){word}[\s*_`]{{0,6}}:{wrapping}({label})"
        r"(?![^\W_]|['’-]\w|\s+of\s+all\b)"  # the end of the word, and no figure of speech
        rf"(?![*_`\"'”’\])]{{0,4}}\s{{0,4}}(?:/|\||,|or\b|and\b){wrapping}{label}\b)",  # no list of labels
        re.IGNORECASE,
    )


def _text_before(text: str, start: int) -> str:
    """The text up to `start`, less the marks that belong to what starts there ("**", "### ")."""
    line_start = text.rfind("\n", 0, start) + 1
    if not text[line_start:start].strip(_LINE_MARKS):
        return text[:line_start].strip()
    return text[:start].rstrip(_EMPHASIS).strip()
