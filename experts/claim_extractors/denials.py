"""Words that deny the objects behind them: no, nothing, not, without, free of.

How far each reaches is `reach`'s; what a predicate or a pronoun denies is `scope`'s. A definite noun under a negated
verb is still there ("the woman is not wearing the hat"), unless the verb is one of seeing or showing.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from experts.claim_extractors import english
from experts.claim_extractors.mentions import Mention
from experts.claim_extractors.reach import TRANSPARENT_BEFORE_OF, Reached, begins_clause, reach
from experts.claim_extractors.tokens import Token

Denial = Literal["denied", "unsaid"]
_NO_AS_ANSWER = english.PRONOUNS | frozenset({",", ".", "the", "this", "these", "that", "-", "–", "—", "a", "an", "is"})
_HARMLESS_AFTER_NO = english.words("doubt matter wonder problem fewer less need")
_HARMLESS_AFTER_NOT = english.words(
    "only just merely simply solely far all every many much entirely fully completely very too so until"
)
_NOT_KNOWN = english.UNCERTAIN | english.words(
    "tell determine say confirm know verify conclude infer rule necessarily guarantee assume"
)
_WITHOUT = frozenset({"without", "lacks", "lack", "lacking", "sans", "nor", "minus", "excluding"})
_BEFORE_OF = {
    "free": "of from", "devoid": "of", "empty": "of", "lack": "of", "absence": "of", "instead": "of", "rather": "than",
    "bereft": "of", "void": "of", "clear": "of",
}  # fmt: skip
_NOBODY = english.NOBODY | {"none", "nothing"}
_NEGATED_VERBS = english.words("not never unable fails fail failed hardly scarcely impossible")
_MAX_PLACE_TOKENS = 8
_Found = Iterator[tuple[Mention, Denial]]


def find_denied(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> _Found:
    """What a negation at this token, if it is one, does to the mentions it reaches. mentions: by first token."""
    words = [token.word for token in tokens[place : place + 5]] + [""] * 4
    word = words[0]
    if _means_nowhere(tokens, place):
        ahead = range(place + 1, min(place + _MAX_PLACE_TOKENS, len(tokens)))
        verb = next((k for k in ahead if tokens[k].word in english.AUXILIARIES), len(tokens))
        yield from _apply(reach(tokens, mentions, verb + 1), denies_given=True)
    elif word == "no":
        yield from _negate_noun(tokens, mentions, place, words)
    elif word in _NOBODY or (word == "one" and place and tokens[place - 1].word == "no"):
        yield from _negate_pronoun(tokens, mentions, place, words)
    elif word in _NEGATED_VERBS:
        yield from _negate_verb(tokens, mentions, place, words)
    elif word == "neither":
        seen = any(t.word in english.PRESENCE or t.word in english.PICTURES for t in tokens[place:])
        yield from _apply(reach(tokens, mentions, place + 1), denies_given=seen)
    elif word != "nor" or all(token.word != "neither" for token in tokens[max(0, place - 20) : place]):
        yield from _find_lacking(tokens, mentions, place, words)  # "neither" has reached behind its "nor"


def deny(mention: Mention) -> Denial:
    """Denying others ("no second clock") or a number ("not three dogs") says nothing about there being one."""
    is_partial = mention.phrase.additional or mention.phrase.ordinal is not None or (mention.number or 1) > 1
    return "unsaid" if is_partial else "denied"


def _negate_noun(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int, words: Sequence[str]) -> _Found:
    """Behind "no"."""
    following = words[1]
    if not following or following in _NO_AS_ANSWER | _HARMLESS_AFTER_NO or words[1:3] == ["more", "than"]:
        return
    if following == "longer":
        yield from _apply(reach(tokens, mentions, place + 2), denies_given=False)
    elif following in TRANSPARENT_BEFORE_OF and words[2] == "that":  # no sign that there is a dog
        yield from _apply(reach(tokens, mentions, place + 3), denies_given=True)
    else:
        found = reach(tokens, mentions, place + 1, in_phrase=True, strict=True)
        yield from _apply(found, denies_given=following in TRANSPARENT_BEFORE_OF)


def _negate_pronoun(
    tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int, words: Sequence[str]
) -> _Found:
    """Behind nobody, nothing, none."""
    if words[0] == "nothing" and (words[1] == "to" or "that" in words[1:4]):  # suggests that there is a dog
        begin = place + 1 + (words.index("that") if "that" in words[1:4] else 2)
        yield from _apply(reach(tokens, mentions, begin), denies_given=True)
    elif words[:3] == ["none", "of", "the"]:
        begin = place + 5 if words[3:5] == ["following", ":"] else place + 1
        yield from _apply(reach(tokens, mentions, begin), denies_given=_says_present(tokens, place))
    else:
        yield from _apply(reach(tokens, mentions, place + 1, in_phrase=True), denies_given=False)


def _negate_verb(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int, words: Sequence[str]) -> _Found:
    """Behind "not" and verbs that mean it."""
    if words[1] in _HARMLESS_AFTER_NOT:
        return
    sees = any(english.SEEING.fullmatch(word) for word in words[1:4])
    reached = reach(tokens, mentions, place + 1)
    is_own = not sees and place > 0 and tokens[place - 1].word == "am"  # "I am not a photographer" is about the writer
    if is_own or words[0] == "impossible" or (not _NOT_KNOWN.isdisjoint(words[1:3]) and not sees):
        yield from ((r.mention, "unsaid") for r in reached if not r.mention.is_given)
    else:
        yield from _apply(reached, denies_given=sees)


def _find_lacking(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int, words: Sequence[str]) -> _Found:
    """Behind words that say something is not there: without, free of, absent are, it is false that."""
    word, following = words[0], words[1]
    if word in _WITHOUT and following != "of":
        found = reach(tokens, mentions, place + 1, stops_at_verb=True)
        yield from _apply(found, denies_given=not following.endswith("ing"))
    elif word in _BEFORE_OF and following in _BEFORE_OF[word].split():
        yield from _apply(reach(tokens, mentions, place + 2, in_phrase=True, stops_at_verb=True), denies_given=True)
    elif word in english.ABSENCE and following in ("is", "are") and _is_inverted(tokens, place):
        yield from _apply(reach(tokens, mentions, place + 2), denies_given=True)
    elif word == "missing" and (following in english.ARTICLES or following == "any"):
        yield from _apply(reach(tokens, mentions, place + 1), denies_given=True)
    elif word in english.UNTRUE and following in ("that", "to"):
        yield from _apply(reach(tokens, mentions, place + 2), denies_given=True)


def _is_inverted(tokens: Sequence[Token], place: int) -> bool:
    """Whether the subject of this word comes behind it: "absent are dogs", "what is missing is a dog"."""
    return place == 0 or tokens[place - 1].word in english.COPULAS or begins_clause(tokens, place)


def _means_nowhere(tokens: Sequence[Token], place: int) -> bool:
    """Whether it denies what an inverted verb introduces: "nowhere in the image is there a dog", "at no point …"."""
    if tokens[place].word == "nowhere":
        after = tokens[place + 1].word if place + 1 < len(tokens) else ""
        return after in english.PREPOSITIONS - {"to"} or after in english.AUXILIARIES
    around = [token.word for token in tokens[max(0, place - 1) : place + 2]]
    return (
        around[1:2] == ["no"] and around[0] in ("at", "in") and around[2:] in (["point"], ["place"], ["part"], ["time"])
    )


def _says_present(tokens: Sequence[Token], place: int) -> bool:
    """Whether a predicate behind this token says that something is there: "are visible", "is in the picture"."""
    words = [token.word for token in tokens[place:]]
    return any(
        verb in english.AUXILIARIES
        and (after in english.PRESENCE or (after == "in" and not english.PICTURES.isdisjoint(words[k + 2 : k + 4])))
        for k, (verb, after) in enumerate(pairwise(words))
    )


def _apply(reached: Iterator[Reached], *, denies_given: bool) -> _Found:
    for found in reached:
        mention = found.mention
        if found.is_direct and (not mention.is_given or (denies_given and not mention.possessor)):
            yield mention, deny(mention)
        elif not mention.is_given:
            yield mention, "unsaid"
