"""Text cut into sentences of words. Quoted text becomes one blank token: what a sign says is nothing the text says.

Not a tagger: tokens carry their letters and places only. Every expression is bounded, so that time grows linearly with
the text whatever it holds.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

QUOTE = "\ufffc"
MAX_SENTENCE_TOKENS = 250
"""A longer sentence is cut, so that rules that look at a whole sentence stay linear in the text."""
_MAY_CUT_TOKENS = 200
"""From here on it is cut at a comma, rather than between "no" and its noun."""
_QUOTED = re.compile(
    r'"[^"\n]{1,400}"|“[^“”\n]{1,400}”|«[^«»\n]{1,400}»|„[^„“”\n]{1,400}[“”]|`[^`\n]{1,400}`'
    r"|(?<!\w)'(?=\S)(?:[^'\n]|(?<=\w)'(?=\w)){1,400}'(?!\w)"
    r"|‘(?:[^‘’\n]|(?<=\w)’(?=\w)){1,400}’"
)
_TOKEN = re.compile(  # a "*" is a sign where it begins a line; elsewhere it is Markdown for bold
    r"\ufffc|\n+|\d+(?:[.,:/]\d+)*\b|\w+(?:[-'’‑]\w+)*|[^\w\s*]|(?m:^[ \t]*)\*(?=\s)"
)
_CONTRACTION = re.compile(r"(?P<stem>it|that|there|he|she|who|what|here|where|let|i|you|we|they)(?P<tail>'\w+)")
_TAILS = {"'ll": "will", "'d": "would", "'m": "am", "'re": "are", "'ve": "have", "'s": "is"}
_ABBREVIATIONS = frozenset({"etc", "approx", "vs", "mr", "mrs", "ms", "dr", "st", "no", "fig"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """One word or sign. start, end: its place in the text, characters. word: lower case, no possessive ending."""

    start: int
    end: int
    raw: str
    """Lower case, with its ending."""
    word: str
    capital: bool
    """It begins with a capital and goes on without."""
    possessive: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """The tokens of one sentence, without its final sign, and whether that is a question mark."""

    tokens: tuple[Token, ...]
    asks: bool


def split_sentences(text: str) -> Iterator[Sentence]:
    """The sentences of a text, empty ones left out."""
    tokens: list[Token] = []
    matches = list(_TOKEN.finditer(blank_quotes(text)))
    for index, match in enumerate(matches):
        sign = match.group()
        following = matches[index + 1].group() if index + 1 < len(matches) else ""
        is_end = _ends_sentence(sign, tokens, following)
        if tokens and (
            is_end or len(tokens) >= MAX_SENTENCE_TOKENS or (sign == "," and len(tokens) >= _MAY_CUT_TOKENS)
        ):
            statement = _without_tag(tokens) if "?" in sign else tokens
            yield Sentence(tokens=tuple(statement), asks="?" in sign and statement is tokens)
            tokens = []
        if not is_end and not sign.startswith("\n"):
            tokens += _tokens_of(match, following)
    if tokens:
        yield Sentence(tokens=tuple(tokens), asks=False)


def _without_tag(tokens: list[Token]) -> list[Token]:
    """The statement before a tag question, the same list where there is none: "there is a dog, isn't there?"."""
    tag = [token.word for token in tokens[-4:]]
    return tokens[:-4] if len(tag) == 4 and tag[0] == "," and tag[2] == "not" else tokens


def blank_quotes(text: str) -> str:
    """The text with every quotation replaced by `QUOTE` and spaces; all other letters stay where they are."""
    return _QUOTED.sub(lambda found: QUOTE.ljust(len(found.group())), text)


def _ends_sentence(sign: str, before: list[Token], following: str) -> bool:
    if sign.startswith("\n"):
        return len(sign) > 1 or not following[:1].islower()
    if sign == ".":
        abbreviated = bool(before) and (before[-1].word in _ABBREVIATIONS or len(before[-1].word) == 1)
        return not (abbreviated and following[:1].islower())
    return sign in "!?…。！？"


def _tokens_of(match: re.Match[str], following: str) -> Iterator[Token]:
    """One token, or the two of a contraction."""
    raw = match.group().lower().replace("’", "'").replace("‑", "-")
    start, end, capital = match.start(), match.end(), match.group()[0].isupper() and not match.group().isupper()

    def token(word: str, *, possessive: bool = False) -> Token:
        return Token(start=start, end=end, raw=raw, word=word, capital=capital, possessive=possessive)

    if raw in ("cannot", "can't"):
        yield from (token("can"), token("not"))
    elif raw.endswith("n't"):
        yield from (token({"wo": "will", "sha": "shall", "ai": "is"}.get(raw[:-3], raw[:-3])), token("not"))
    elif found := _CONTRACTION.fullmatch(raw):
        yield from (token(found["stem"]), token(_TAILS.get(found["tail"], found["tail"])))
    elif raw.endswith("'s"):
        yield token(raw[:-2], possessive=True)
    else:
        yield token(raw, possessive=raw.endswith("s") and following == "'")
