"""Words that name a place in the image: "in the upper left corner", "to the far right of the picture", "at the top".

Read word by word, each look bounded. A place that belongs to something else is none: beside it ("left of the sofa", "in
the middle of the table") or a part of it ("on the left wall"). What lies there is for
`experts.claim_extractors.image_places`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experts.claim_extractors import english
from experts.claim_extractors.tokens import Token
from experts.places import Column, Place, Row

IMAGES = english.words("image picture photo photograph scene frame shot view snapshot canvas composition")
_ROWS: dict[str, Row] = {"upper": "upper", "top": "upper", "lower": "lower", "bottom": "lower"}
_COLUMNS: dict[str, Column] = {
    "left": "left", "lefthand": "left", "left-hand": "left", "right": "right", "righthand": "right",
    "right-hand": "right",
}  # fmt: skip
_MIDDLES = english.words("center centre middle central")
_CORE = _ROWS.keys() | _COLUMNS.keys() | _MIDDLES
_ALONE = _CORE - english.words("upper lower central")
"""What can stand without a side noun: "at the top", but not "at the upper"."""
_AREAS = english.words("corner side part area section half third portion quadrant region edge border margin sector")
LEADS = english.words("in on at near to toward towards along within around")
_ONLY_EXPLICIT = english.words("to toward towards around")
"""Before a place that is not said to be the image's they tell a direction: "a dog runs to the left"."""
_DEGREES = english.words("far very extreme exact absolute")
_MAX_CORE_TOKENS = 6

_OTHER_THINGS = english.words("of from between among amid off or than")
"""Behind a place without "of the image" they make it that of another object, or one of several."""
_WHOLE = english.words("the this that whole entire")
_BEHIND_IMAGE = english.words("frame frames album book books wall gallery screen hanging")
"""They make of the image a thing in it: a picture frame, the photo hanging on the wall."""
VERBS = english.words(
    "sits stands lies rests hangs appears seems looks wears holds shows contains features displays depicts sitting "
    "standing lying resting hanging wearing holding looking facing walking running riding eating playing parked placed "
    "sleeping located"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacePhrase:
    """Words that name a place in the image. start, end: its tokens, with preposition and "of the image"."""

    place: Place
    start: int
    end: int
    is_explicit: bool
    """It says that it is the image's: "at the top of the picture"."""


def find_places(tokens: Sequence[Token]) -> list[PlacePhrase]:
    """The phrases of a sentence that name a place in the image, in order."""
    found: list[PlacePhrase] = []
    place = 0
    while place < len(tokens):
        phrase = _read_phrase(tokens, place)
        if phrase is None:
            place += 1
        else:
            found.append(phrase)
            place = phrase.end
    return found


def _read_phrase(tokens: Sequence[Token], start: int) -> PlacePhrase | None:
    """The phrase that begins at a token: "in the upper left corner of the image"."""
    lead, place, owned = tokens[start].word, start, False
    if lead in LEADS:
        place += 1
    elif not _opens(tokens, start):
        return None
    has_article = False
    if word_at(tokens, place) in ("the", "this"):
        has_article, place = True, place + 1
    if word_at(tokens, place) in IMAGES and place < len(tokens) and tokens[place].possessive:
        owned, place = True, place + 1
    while word_at(tokens, place) in _DEGREES:
        place += 1
    words, end = _read_core(tokens, place)
    named = _name_place(words)
    if named is None:
        return None
    has_area = word_at(tokens, end) in _AREAS
    end += has_area
    behind = _skip_image(tokens, end)
    is_explicit = owned or behind > end
    if not (has_area or len(words) > 1) and not _may_be_alone(
        tokens, start, end, words[0], has_article=has_article or owned, is_explicit=is_explicit
    ):
        return None
    if not is_explicit and (lead in _ONLY_EXPLICIT or not _stands_alone(tokens, end)):
        return None
    return PlacePhrase(place=named, start=start, end=behind, is_explicit=is_explicit)


def _may_be_alone(
    tokens: Sequence[Token], start: int, end: int, word: str, *, has_article: bool, is_explicit: bool
) -> bool:
    """Whether one word without a noun names a place: "on the left", "at right", "(left)"; not "on the top", which is
    mostly that of something else.
    """
    lead = tokens[start].word
    if lead not in LEADS:
        is_bracketed = start > 0 and tokens[start - 1].word == "(" and word_at(tokens, end) == ")"
        return word in _ALONE and (is_bracketed or is_explicit)
    if not has_article:
        return lead == "at" and word in _COLUMNS
    return word in _ALONE and (is_explicit or lead != "on" or word not in _ROWS)


def _opens(tokens: Sequence[Token], place: int) -> bool:
    """Whether a place can begin here without a preposition: at the beginning of the sentence, in brackets, behind a
    colon or a dash.
    """
    return place == 0 or tokens[place - 1].word in ("(", ":", "-", "–", "—", ",")


def _read_core(tokens: Sequence[Token], place: int) -> tuple[list[str], int]:
    """The words that name row and column from a token on, and where they end. "hand" of "right hand side" is none."""
    words: list[str] = []
    for end in range(place, min(place + _MAX_CORE_TOKENS, len(tokens))):
        word = tokens[end].word
        parts = [word] if word in _CORE else word.split("-")
        parts = parts[:-1] if parts[-1] == "hand" and len(parts) > 1 else parts
        if parts[-1:] != [""] and all(part in _CORE for part in parts):
            words += parts
        elif not (
            words
            and ((word == "hand" and word_at(tokens, end + 1) in _AREAS) or (word == "-" and _is_core(tokens, end)))
        ):
            return words, end
    return words, min(place + _MAX_CORE_TOKENS, len(tokens))


def _is_core(tokens: Sequence[Token], place: int) -> bool:
    return word_at(tokens, place + 1) in _CORE


def _name_place(words: Sequence[str]) -> Place | None:
    """The place of "upper left", "center right" or "middle"; None if the words name none or contradict each other."""
    rows = [_ROWS[word] for word in words if word in _ROWS]
    columns = [_COLUMNS[word] for word in words if word in _COLUMNS]
    has_middle = any(word in _MIDDLES for word in words)
    if not words or len(rows) > 1 or len(columns) > 1 or len(words) > 2 or (rows and columns and has_middle):
        return None
    if not has_middle:
        return Place(row=rows[0] if rows else None, column=columns[0] if columns else None)
    return Place(row=rows[0] if rows else "middle", column=columns[0] if columns else "center")


def _skip_image(tokens: Sequence[Token], place: int) -> int:
    """Where "of the image" or "in this picture" ends that begins at a token; the token itself if there is none."""
    if word_at(tokens, place) not in ("of", "in"):
        return place
    end = place + 1
    while word_at(tokens, end) in _WHOLE:
        end += 1
    is_image = end > place + 1 and word_at(tokens, end) in IMAGES and not tokens[end].possessive
    return end + 1 if is_image and word_at(tokens, end + 1) not in _BEHIND_IMAGE else place


def _stands_alone(tokens: Sequence[Token], end: int) -> bool:
    """Whether the phrase ends here, rather than name a part ("left wall") or a place beside a thing ("of the sofa")."""
    word = word_at(tokens, end)
    if word == "next" and tokens[end - 1].word == "right":  # at the top, right next to the window
        return False
    if word in _OTHER_THINGS or (word in ("and", ",", "/", "&") and _leads_to_core(tokens, end + 1)):
        return False
    return not word[:1].isalnum() or word in english.FUNCTION_WORDS or word in VERBS or word in english.PRESENCE


def _leads_to_core(tokens: Sequence[Token], place: int) -> bool:
    """Whether another place follows at once: the right of "on the left and right"."""
    words, _ = _read_core(tokens, place)
    return bool(words)


def word_at(tokens: Sequence[Token], place: int) -> str:
    """The word at a token, "" outside the sentence."""
    return tokens[place].word if 0 <= place < len(tokens) else ""
