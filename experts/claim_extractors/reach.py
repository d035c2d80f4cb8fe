"""How far a word reaches over the nouns behind it: "no dog or cat on the sofa" speaks of dog and cat, not of the sofa.

Used for negations, suppositions and comparisons alike; what reaching a noun means is decided by them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from experts.claim_extractors import english
from experts.claim_extractors.mentions import Mention
from experts.claim_extractors.noun_phrases import read_number
from experts.claim_extractors.tokens import Token

MAX_REACH_TOKENS = 60
"""Nothing reaches farther, so that time stays linear in the text."""
_MAX_SUBJECT_TOKENS = 15
_MAX_NOUN_TOKENS = 6
_SUBORDINATORS = english.words("because since although though while as")
_HARD_SIGNS = frozenset(";:()—–[]|")
TRANSPARENT_BEFORE_OF = english.words(
    "sign signs evidence trace hint indication kind kinds type types sort sorts lack absence presence none any glimpse "
    "instance instances form image images picture pictures photo photos photograph"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """A mention that a word reaches. is_direct: in the first noun phrase or one coordinated with it; otherwise behind a
    preposition or relative pronoun after it.
    """

    mention: Mention
    is_direct: bool


def reach(
    tokens: Sequence[Token],
    mentions: Mapping[int, Mention],
    begin: int,
    *,
    in_phrase: bool = False,
    strict: bool = False,
    stops_at_verb: bool = False,
) -> Iterator[Reached]:
    """The mentions that a word right before token `begin` reaches within its clause.

    mentions: by first token. in_phrase: the noun phrase has begun (after "no"); otherwise a verb and a preposition may
    come first ("not sitting on a bench"). strict: a coordinated noun with an article of its own is out of reach ("no
    dog and a cat"). stops_at_verb: the word belongs to a noun, so that the verb behind is another's ("a statue of a
    horse stands near a bench").
    """
    has_noun, is_direct = in_phrase, True
    is_subordinate = any(token.word in _SUBORDINATORS for token in tokens[max(0, begin - _MAX_SUBJECT_TOKENS) : begin])
    place = begin
    while place < min(len(tokens), begin + MAX_REACH_TOKENS):
        word = tokens[place].word
        if _ends_clause(tokens, place):
            return
        if word in (",", "and", "&") and not _continues_list(
            tokens, place, strict=strict or not is_direct, clause_follows=is_subordinate and word == ","
        ):
            return
        if (mention := mentions.get(place)) is not None:
            yield Reached(mention=mention, is_direct=is_direct)
            has_noun, place = True, mention.end
            continue
        if (has_noun and word in english.SUBJECTS) or (stops_at_verb and place > begin and _is_verb(tokens, place)):
            return
        if word in english.AUXILIARIES and has_noun:
            is_direct = True
        elif has_noun and _leads_away(tokens, place):
            is_direct = False
        elif word in english.ARTICLES and word != "that":  # it may begin a clause: I doubt that it is …
            has_noun = True
        place += 1


def _is_verb(tokens: Sequence[Token], place: int) -> bool:
    word, before = tokens[place].word, tokens[place - 1].word
    if word in english.AUXILIARIES and word not in ("be", "been", "being"):
        return True
    is_third_person = word.endswith("s") and not word.endswith(("ss", "us")) and word not in english.FUNCTION_WORDS
    return is_third_person and before not in english.FUNCTION_WORDS and before != ","


def _ends_clause(tokens: Sequence[Token], place: int) -> bool:
    word = tokens[place].word
    if word in _HARD_SIGNS or word in english.CLAUSE_BREAKS:
        return True
    if word == "-" or (word == "other" and place + 1 < len(tokens) and tokens[place + 1].word == "than"):
        return True
    before = tokens[place - 1].word if place else ""
    if word in ("really", "actually") and before in english.COPULAS:  # what may look like a dog is really a cat
        return True
    return word in ("only", "just", "rather", "merely", "simply") and before in (",", "and")


def begins_clause(tokens: Sequence[Token], place: int) -> bool:
    """Whether a clause begins at this token, which is not the first: behind "but", "if", ", and"."""
    before = tokens[place - 1].word
    if before in ";:()—–" or before in english.CLAUSE_BREAKS or before in ("if", "whether"):
        return not (before == "however" and tokens[place].word == ",")
    return before in ("and", "or") and place > 1 and tokens[place - 2].word == ","


def _leads_away(tokens: Sequence[Token], place: int) -> bool:
    word = tokens[place].word
    if word == "of" and place and tokens[place - 1].word in TRANSPARENT_BEFORE_OF:
        return False
    if word == "as" and place and tokens[place - 1].word in ("such", "thing"):
        return False
    return word in english.PREPOSITIONS or word in english.RELATIVES


def _continues_list(tokens: Sequence[Token], place: int, *, strict: bool, clause_follows: bool) -> bool:
    """Whether a comma or an "and" goes on with nouns of the same list, rather than with a new clause.

    clause_follows: another must, because this one began with "because".
    """
    place += 1
    while place < len(tokens) and tokens[place].word in (",", "and", "or", "nor", "&", "any"):
        if tokens[place].word in ("or", "nor", "any"):
            strict = False
        place += 1
    has_article = place < len(tokens) and (
        tokens[place].word in english.ARTICLES or read_number(tokens[place].word) is not None
    )
    if has_article:
        if strict:
            return False
        place += 1
    if clause_follows and not any(
        token.word in ("and", "or", "nor") for token in tokens[place : place + _MAX_NOUN_TOKENS]
    ):
        return False
    return place < len(tokens) and not _is_clause(tokens, place, may_be_verb=has_article or clause_follows)


def _is_clause(tokens: Sequence[Token], place: int, *, may_be_verb: bool) -> bool:
    """Whether a verb follows before the list goes on or the sentence ends. may_be_verb: a word in -s can be one."""
    for later in range(place, min(place + _MAX_SUBJECT_TOKENS, len(tokens))):
        word = tokens[later].word
        if word in english.AUXILIARIES or word in english.SUBJECTS:
            return True
        if not word[:1].isalnum() or word in ("and", "or", "nor") or word in english.RELATIVES:
            return False
        is_inside = may_be_verb and place < later < place + _MAX_NOUN_TOKENS and tokens[later - 1].word != "of"
        if is_inside and word.endswith("s") and not word.endswith("ss") and word not in english.FUNCTION_WORDS:
            return True
    return False
