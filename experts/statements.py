"""The sentences of a text that are worth checking as a whole, and what a checker's probabilities say about them.

Detectors check objects, numbers and places; a sentence also says what no box shows: a colour, the text of a sign, who
does what. A checker (`experts.contract.StatementChecker`) is asked for a sentence unless that would count twice what
detectors found false, or ask for what it cannot tell: numbers are the detectors' business, a question states nothing,
and a sentence that leans on the one before it ("It is also red.") means nothing alone.

Source: judging an answer statement by statement is the divide-and-conquer of RLAIF-V (arXiv:2405.17220) and FaithScore
(arXiv:2311.01477), and detectors for objects beside a language model for the rest is Woodpecker's (arXiv:2310.16045).
Ours: sentences stand for statements, so no language model has to split the text.
"""

import re
from collections.abc import Mapping, Sequence

from experts.claim_extractors import english
from experts.claim_extractors.tokens import QUOTE, Sentence, blank_quotes, split_sentences
from experts.claims import extract_claims, find_mentions
from genrm.types import Evidence, Finding

MAX_STATEMENT_BYTES = 800
"""A longer sentence, in UTF-8, is not asked for: a token may be one byte, and a checker that cannot read one statement
answers none."""
UNDECIDED = (0.35, 0.65)
"""Probabilities within are too near to even odds to say anything: the statement is unchecked."""
_LEAST_WORDS = 3
"""A shorter sentence is a fragment ("On top.")."""
_LEANING = english.words(
    "it they he she this that these those them him her its their his both another other others one such then so "
    "however but and or"
)
"""Words that point to the sentence before where they stand among the first ones; "also" does anywhere."""
_NUM_LEADING = 2
_BEGINS_WITH_A_WORD = re.compile(rf"\w|{QUOTE}")
_ABBREVIATIONS = english.words("mr mrs ms dr prof sr jr st approx vs fig ft")
"""Their full stop ends no sentence."""
_FALSE: tuple[Finding, ...] = ("unsupported", "contradicted")


def find_statements(text: str, evidence: Sequence[Evidence] = ()) -> tuple[str, ...]:
    """The sentences of a text that a checker should be asked for, each once, in their order, ended by a full stop.

    evidence: what was found of the claims of the text. Time grows linearly with the text.
    """
    refuted = [item for item in evidence if item.kind == "object" and item.finding in _FALSE]
    names = {item.phrase for item in refuted}
    mentions = [re.compile(rf"(?<!\w){re.escape(item.mention)}(?!\w)", re.IGNORECASE) for item in refuted]
    found: dict[str, None] = {}
    blanked = blank_quotes(text)
    is_cut = False
    for number, sentence in enumerate(split_sentences(text)):
        was_cut, is_cut = is_cut, sentence.tokens[-1].word in _ABBREVIATIONS
        statement = _write(text, blanked, sentence)
        if (
            _is_statement(sentence, statement)
            and not (was_cut or is_cut)
            and (number == 0 or not _leans(sentence))
            and not any(claim.is_exact for claim in extract_claims(statement))
            and names.isdisjoint(find_mentions(statement))
            and not any(mention.search(statement) for mention in mentions)
        ):
            found[statement] = None
    return tuple(found)


def verify_statements(statements: Sequence[str], probabilities: Sequence[Mapping[str, float]]) -> tuple[Evidence, ...]:
    """Evidence for each statement. probabilities: of each checker that answered; several are averaged. A
    statement that none was asked for is unchecked.
    """
    return tuple(
        _verify(statement, [known[statement] for known in probabilities if statement in known])
        for statement in statements
    )


def _verify(statement: str, probabilities: Sequence[float]) -> Evidence:
    mean = sum(probabilities) / len(probabilities) if probabilities else None
    finding: Finding = "unchecked"
    if mean is not None and not UNDECIDED[0] <= mean <= UNDECIDED[1]:
        finding = "supported" if mean > UNDECIDED[1] else "contradicted"
    return Evidence(
        kind="statement",
        phrase=statement,
        mention=statement.removesuffix("."),
        polarity="affirmed",
        finding=finding,
        probability=None if finding == "unchecked" else mean,
    )


def _write(text: str, blanked: str, sentence: Sentence) -> str:
    """The sentence as it stands in the text, in one line, without the signs of a list before it. blanked: the text
    without its quotations, one of which may end the sentence.
    """
    first = next((t for t in sentence.tokens if _BEGINS_WITH_A_WORD.match(t.raw)), sentence.tokens[0])
    end = sentence.tokens[-1].end
    behind = blanked[end:]
    end += len(behind) - len(behind.lstrip())
    return " ".join(text[first.start : end].replace("**", "").split()) + "."


def _is_statement(sentence: Sentence, statement: str) -> bool:
    num_words = sum(bool(_BEGINS_WITH_A_WORD.match(token.raw)) for token in sentence.tokens)
    return (
        not sentence.asks
        and num_words >= _LEAST_WORDS
        and len(statement.encode(errors="replace")) <= MAX_STATEMENT_BYTES
    )


def _leans(sentence: Sentence) -> bool:
    """Whether the sentence means something only behind the one before it."""
    words = [token.word for token in sentence.tokens]
    return "also" in words or not _LEANING.isdisjoint(words[:_NUM_LEADING])
