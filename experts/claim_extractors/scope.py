"""What a sentence says of the objects it names: that they are there, that they are not, or neither.

Denials are read here; conditions, guesses and comparisons, which say neither, in `suppositions`. A definite noun under
a negated verb is still there ("the woman is not wearing the hat"), unless the verb is one of seeing or showing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from experts.claim_extractors import english
from experts.claim_extractors.mentions import PRONOUN, Mention
from experts.claim_extractors.reach import TRANSPARENT_BEFORE_OF, Reached, reach
from experts.claim_extractors.suppositions import find_alternatives, find_supposed
from experts.claim_extractors.tokens import Token

Status = Literal["affirmed", "denied", "unsaid"]
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
_WEAK_ADVERBS = english.words("currently actually really even be been to anywhere also directly in")
_AFTER_A_PRONOUN = frozenset({",", ";", "in", "here", "at", "anywhere", "visible", "on"})
_COORDINATIONS = frozenset({",", "and", "or", "nor", "&"})


def read_statuses(tokens: Sequence[Token], mentions: Sequence[Mention], depictions: frozenset[str]) -> list[Status]:
    """What the sentence says of each mention, in their order. depictions: nouns that show others (statue, painting)."""
    by_start = {mention.start: mention for mention in mentions}
    statuses = {mention.start: _own_status(tokens, mention) for mention in mentions}
    for place in range(len(tokens)):
        for mention, status in _negate(tokens, by_start, place):
            if statuses[mention.start] != "denied":
                statuses[mention.start] = status
        for mention in _absent_subjects(tokens, mentions, place):
            statuses[mention.start] = _deny(mention)
        for mention in find_alternatives(tokens, by_start, place):
            if statuses[mention.start] == "affirmed":
                statuses[mention.start] = "unsaid"
    for mention in find_supposed(tokens, by_start, depictions):
        statuses[mention.start] = "unsaid"
    for mention in _absent_antecedents(tokens, by_start):
        statuses[mention.start] = "denied"
    return [statuses[mention.start] for mention in mentions]


def _own_status(tokens: Sequence[Token], mention: Mention) -> Status:
    """What the mention's own words say: nobody, zero dogs."""
    word = tokens[mention.start].word
    if mention.word == PRONOUN:
        if word in english.NOBODY | {"no"}:
            return _deny(mention)
        return "unsaid" if word in english.ANYBODY else "affirmed"
    return "denied" if mention.number == 0 else "affirmed"


def _deny(mention: Mention) -> Status:
    """Denying others ("no second clock") or a number ("not three dogs") says nothing about there being one."""
    is_partial = mention.phrase.additional or mention.phrase.ordinal is not None or (mention.number or 1) > 1
    return "unsaid" if is_partial else "denied"


def _negate(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[tuple[Mention, Status]]:
    """What a negation at this token, if it is one, does to the mentions it reaches."""
    words = [token.word for token in tokens[place : place + 5]] + [""] * 4
    word, following = words[0], words[1]
    if word == "no" and following not in _NO_AS_ANSWER and following and following not in _HARMLESS_AFTER_NO:
        if following == "longer":
            yield from _apply(reach(tokens, mentions, place + 2), denies_given=False)
        elif not (following == "more" and words[2] == "than"):
            found = reach(tokens, mentions, place + 1, in_phrase=True, strict=True)
            yield from _apply(found, denies_given=following in TRANSPARENT_BEFORE_OF)
    elif word in _NOBODY or (word == "one" and place and tokens[place - 1].word == "no"):
        yield from _apply(reach(tokens, mentions, place + 1, in_phrase=True), denies_given=False)
    elif word == "nor" and any(token.word == "neither" for token in tokens[max(0, place - 20) : place]):
        return  # "neither" has reached it
    elif word in ("not", "never", "unable", "fails", "fail", "failed", "hardly", "scarcely", "impossible") or (
        word == "nowhere" and following in english.AUXILIARIES
    ):
        yield from _negate_verb(tokens, mentions, place, words)
    elif word in _WITHOUT and following != "of":
        found = reach(tokens, mentions, place + 1, stops_at_verb=True)
        yield from _apply(found, denies_given=not following.endswith("ing"))
    elif word == "neither":
        seen = any(t.word in english.PRESENCE or t.word in english.PICTURES for t in tokens[place:])
        yield from _apply(reach(tokens, mentions, place + 1), denies_given=seen)
    elif word in _BEFORE_OF and following in _BEFORE_OF[word].split():
        yield from _apply(reach(tokens, mentions, place + 2, in_phrase=True, stops_at_verb=True), denies_given=True)
    elif word == "missing" and (following in english.ARTICLES or following == "any"):
        yield from _apply(reach(tokens, mentions, place + 1), denies_given=True)
    elif word in ("false", "untrue", "incorrect", "wrong") and following in ("that", "to"):
        yield from _apply(reach(tokens, mentions, place + 2), denies_given=True)


def _negate_verb(
    tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int, words: Sequence[str]
) -> Iterator[tuple[Mention, Status]]:
    if words[1] in _HARMLESS_AFTER_NOT:
        return
    sees = any(english.SEEING.fullmatch(word) for word in words[1:4])
    reached = reach(tokens, mentions, place + 1)
    is_own = place > 0 and tokens[place - 1].word == "am"  # "I am not a photographer" is about the writer
    if is_own or words[0] == "impossible" or (not _NOT_KNOWN.isdisjoint(words[1:3]) and not sees):
        yield from ((r.mention, "unsaid") for r in reached if not r.mention.is_given)
    else:
        yield from _apply(reached, denies_given=sees)


def _apply(reached: Iterator[Reached], *, denies_given: bool) -> Iterator[tuple[Mention, Status]]:
    for found in reached:
        mention = found.mention
        if found.is_direct and (not mention.is_given or (denies_given and not mention.possessor)):
            yield mention, _deny(mention)
        elif not mention.is_given:
            yield mention, "unsaid"


def _absent_subjects(tokens: Sequence[Token], mentions: Sequence[Mention], place: int) -> list[Mention]:
    """The subjects of a predicate at this token that says they are not there: "is not visible", "are missing"."""
    if not _says_absent(tokens, place):
        return []
    begin = place
    while begin and not _begins_clause(tokens, begin):
        begin -= 1
    subjects = [mention for mention in mentions if begin <= mention.start < place]
    if not subjects or subjects[0].possessor:
        return []
    left = subjects[0].phrase.left
    if left > begin and tokens[left - 1].word in english.PREPOSITIONS:
        return []
    last = 1
    while last < len(subjects) and all(
        token.word in _COORDINATIONS for token in tokens[subjects[last - 1].end : subjects[last].phrase.left]
    ):
        last += 1
    return subjects[:last]


def _absent_antecedents(tokens: Sequence[Token], mentions: Mapping[int, Mention]) -> Iterator[Mention]:
    """What a pronoun that is denied stands for: "you mentioned a dog, but there is none", "… but it is not there"."""
    latest: Mention | None = None
    for place, token in enumerate(tokens):
        latest = mentions.get(place, latest)
        if latest is None or place < latest.end:
            continue
        before = [earlier.word for earlier in tokens[max(latest.end, place - 5) : place]]
        is_last = place + 1 == len(tokens) or tokens[place + 1].word in _AFTER_A_PRONOUN
        none = token.word == "none" and before[-1:] in (["is"], ["are"])
        is_sought = "there" in before or any(map(english.SEEING.fullmatch, before))
        one = token.word in ("one", "any") and "not" in before and is_sought
        it = before[-2:] in (["it", "is"], ["they", "are"]) and before[:1] in (["but"], ["yet"], [","])
        if (is_last and (none or one)) or (it and _says_absent(tokens, place)):
            yield latest


def _begins_clause(tokens: Sequence[Token], place: int) -> bool:
    before = tokens[place - 1].word
    if before in ";:()—–" or before in english.CLAUSE_BREAKS or before in ("if", "whether"):
        return not (before == "however" and tokens[place].word == ",")
    return before in ("and", "or") and place > 1 and tokens[place - 2].word == ","


def _says_absent(tokens: Sequence[Token], place: int) -> bool:
    word = tokens[place].word
    before = tokens[place - 1].word if place else ""
    after = [token.word for token in tokens[place + 1 : place + 7]]
    if word in english.ABSENCE or (
        word == "out" and after[:1] == ["of"] and not english.PICTURES.isdisjoint(after[:3])
    ):
        is_predicate = before in english.COPULAS or before in ("remains", "entirely", "completely", "also", ",")
        return is_predicate and not (
            after and (after[0] in english.ARTICLES or after[0] not in english.FUNCTION_WORDS | {","})
        )
    if word != "not" or before not in english.AUXILIARIES:
        return False
    if before in ("do", "does", "did"):
        return after[:1] in (["appear"], ["exist"]) and (len(after) < 2 or after[1] != "to")
    while after and after[0] in _WEAK_ADVERBS and after[0] != "in":
        after = after[1:]
    if after and after[0] in english.PRESENCE:
        return len(after) < 2 or not after[1].endswith("ing")
    return after[:1] in (["in"], ["within"], ["part"], ["inside"]) and not english.PICTURES.isdisjoint(after[1:4])
