"""Where in the image a sentence says that an object is: "a cup in the upper left corner", "on the right is a dog".

A place (`experts.claim_extractors.place_phrases`) is given to the mention that it stands next to, and only where that
is clear: not where it is denied or supposed, or may be that of another object ("a cup on the table on the left") or of
a part ("a cake with a cherry on the top"). Every look around a word is bounded, so that time grows linearly with the
text.
"""

from collections.abc import Mapping, Sequence

from experts.claim_extractors import english
from experts.claim_extractors.mentions import Mention
from experts.claim_extractors.place_phrases import IMAGES, LEADS, VERBS, PlacePhrase, find_places, word_at
from experts.claim_extractors.reach import TRANSPARENT_BEFORE_OF, begins_clause
from experts.claim_extractors.tokens import Token
from experts.places import Place

_LINKS = (
    IMAGES
    | english.COPULAS - {"seems", "seem"}
    | english.PRESENCE
    | english.words(
        "( : - – — the this , which that who be can being has have we you i see located placed positioned situated "
        "seated parked perched set found also just up out over on far near prominently clearly partly partially mostly "
        "fully only alone open right in sits stands lies rests hangs sleeps flies walks runs sat stood lay background "
        "foreground off down seen wall ground floor"
    )
)
"""Words that may stand between an object and its place."""
_TURNED = english.words(
    "looking facing turning heading moving driving pointing leading going aiming staring gazing turned headed pointed "
    "tilted used supposed"
)
_BEFORE_OBJECT = english.words(
    ", : - – — ; there is are was were 's sits stands lies rests hangs we you i one can see find notice spot appears "
    "just and also has have shows show contains features displays depicts"
)
"""Words that may stand between a place that begins a clause and its object."""
_SHOWING = english.words("shows show contains contain features displays depicts has holds includes : - – —")
"""Behind a place without a preposition: "the left side shows a dog", "upper left: a dog"."""
_MAX_LINK_TOKENS = 10
_OWNING = english.words("with has have having had containing featuring including contains features holds")
_CLAUSE_TOKENS = 14
_DOUBTS = (
    english.HEDGES | english.MODALS | english.CONDITIONS | english.UNTRUE | english.NOBODY | english.WISHES
    | english.words("not never no neither nor seems seem without cannot lacks false claims claim claimed question")
)  # fmt: skip
_SENTENCE_DOUBTS = english.UNTRUE | english.REPORTS | english.CONDITIONS


def read_places(tokens: Sequence[Token], mentions: Sequence[Mention]) -> dict[int, Place]:
    """The places of the mentions of one sentence, by first token; those without a clear one are left out."""
    phrases = find_places(tokens)
    if not phrases or not mentions or any(token.word in _SENTENCE_DOUBTS for token in tokens):
        return {}
    by_end = {mention.end: mention for mention in mentions}
    by_left = {mention.phrase.left: mention for mention in mentions}
    found: dict[int, set[Place]] = {}
    for phrase in phrases:
        if _is_doubted(tokens, phrase):
            continue
        mention = _find_mention(tokens, phrase, by_end, by_left)
        if mention is not None and not mention.possessor and not mention.plural:
            found.setdefault(mention.start, set()).add(phrase.place)
    return {start: places.pop() for start, places in found.items() if len(places) == 1}


def _is_doubted(tokens: Sequence[Token], phrase: PlacePhrase) -> bool:
    """Whether its clause denies or supposes it, or leaves a choice ("on the left or on the right")."""
    if word_at(tokens, phrase.end) == "or" or (phrase.start and tokens[phrase.start - 1].word in ("or", "either")):
        return True
    for place in range(phrase.start - 1, max(-1, phrase.start - _CLAUSE_TOKENS), -1):
        if tokens[place].word in _DOUBTS and not (place == 0 and word_at(tokens, 1) == ","):
            return True
        if place and begins_clause(tokens, place):
            return False
    return False


def _find_mention(
    tokens: Sequence[Token], phrase: PlacePhrase, by_end: Mapping[int, Mention], by_left: Mapping[int, Mention]
) -> Mention | None:
    """The mention that a place is said of; None if there is none, or one on either side of it could be."""
    subject = _find_subject(tokens, phrase, by_end)
    introduced = _find_introduced(tokens, phrase, by_left)
    if subject is None or introduced is None:
        return subject or introduced
    behind = word_at(tokens, phrase.end)
    return introduced if behind in english.COPULAS or behind in VERBS else None  # a dog, on the left is a cat


def _find_subject(tokens: Sequence[Token], phrase: PlacePhrase, by_end: Mapping[int, Mention]) -> Mention | None:
    """The mention before a place that it is said of: "a cup in the lower left", "the cup is on the left"."""
    has_verb = False
    for place in range(phrase.start, max(0, phrase.start - _MAX_LINK_TOKENS), -1):
        if (mention := by_end.get(place)) is not None:
            is_listed = mention.phrase.left - 1 in by_end
            return mention if _can_own(tokens, mention, phrase, has_verb=has_verb, is_listed=is_listed) else None
        word = tokens[place - 1].word
        if not (word in _LINKS or _is_participle(word) or _is_contents(tokens, place - 1)):
            is_appearing = word == "to" and place > 1 and tokens[place - 2].word in ("appears", "appear")
            if not is_appearing:
                return None
        has_verb = has_verb or word in english.COPULAS or word in VERBS
    return None


def _is_participle(word: str) -> bool:
    return word.endswith(("ing", "ed")) and word not in _TURNED


def _is_contents(tokens: Sequence[Token], place: int) -> bool:
    """Whether a word is "of" or what stands behind it in "a cup of coffee"."""
    if tokens[place].word == "of":
        return word_at(tokens, place + 1) not in english.FUNCTION_WORDS
    return place > 0 and tokens[place - 1].word == "of" and tokens[place].word not in english.FUNCTION_WORDS


def _can_own(
    tokens: Sequence[Token], mention: Mention, phrase: PlacePhrase, *, has_verb: bool, is_listed: bool
) -> bool:
    """Whether a place behind a mention is its own: not that of what stands before it ("a cup on the table is on the
    left"), nor a part of something ("a cake with a cherry on the top").

    has_verb: one stands between the two. is_listed: another mention ends a word before this one ("a cup and a plate").
    """
    before = mention.phrase.left - 1
    word = tokens[before].word if before >= 0 else ""
    if word == "of":
        head = tokens[before - 1].word if before else ""
        return head in TRANSPARENT_BEFORE_OF or head in english.GROUPS_OF or head in ("slice", "piece")
    if _is_owned(tokens, before):
        return phrase.is_explicit and not has_verb
    if has_verb and (is_listed or word.endswith("ing")):
        return False
    return word not in english.PREPOSITIONS and word not in ("or", "nor")


def _is_owned(tokens: Sequence[Token], before: int) -> bool:
    """Whether the clause before a token says what something has: "a plate with a sandwich and …"; an image may."""
    for place in range(before, max(-1, before - _CLAUSE_TOKENS), -1):
        if tokens[place].word in _OWNING:
            return not (place and tokens[place - 1].word in IMAGES)
        if place and begins_clause(tokens, place):
            return False
    return False


def _find_introduced(tokens: Sequence[Token], phrase: PlacePhrase, by_left: Mapping[int, Mention]) -> Mention | None:
    """The mention behind a place that begins its clause: "on the left is a dog", "upper left: a cup"."""
    if not _begins(tokens, phrase.start):
        return None
    if word_at(tokens, phrase.start) not in LEADS and word_at(tokens, phrase.end) not in _SHOWING:
        return None
    for place in range(phrase.end, min(phrase.end + _MAX_LINK_TOKENS, len(tokens))):
        if (mention := by_left.get(place)) is not None:
            return mention
        if tokens[place].word not in _BEFORE_OBJECT:
            return None
    return None


def _begins(tokens: Sequence[Token], start: int) -> bool:
    """Whether a clause may begin at a token, be it behind the mark of a list."""
    is_first = start == 0 or (start == 1 and not tokens[0].word.isalpha())
    return is_first or begins_clause(tokens, start) or tokens[start - 1].word in ("and", ",")
