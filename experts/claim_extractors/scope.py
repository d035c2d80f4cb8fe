"""What a sentence says of the objects it names: that they are there, that they are not, or neither.

Here that is put together, and read off predicates ("the dog is not visible") and pronouns ("there is none"). What
words such as "no" and "without" deny is in `denials`; conditions, guesses and comparisons, which say neither, are in
`suppositions`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

from experts.claim_extractors import english
from experts.claim_extractors.denials import deny, find_denied
from experts.claim_extractors.mentions import PRONOUN, Mention
from experts.claim_extractors.reach import begins_clause
from experts.claim_extractors.suppositions import find_alternatives, find_supposed
from experts.claim_extractors.tokens import Token

Status = Literal["affirmed", "denied", "unsaid"]
_WEAK_ADVERBS = english.words("currently actually really even be been to anywhere also directly in")
_BEFORE_ABSENCE = english.words("remains entirely completely also all both clearly , ")
_IT_IS = (["it", "is"], ["they", "are"], ["which", "is"], ["which", "are"])
_AFTER_A_PRONOUN = frozenset({",", ";", "in", "here", "at", "anywhere", "visible", "on"})
_CLAIMS = english.words("claim statement assertion idea notion suggestion assumption")
_COORDINATIONS = frozenset({",", "and", "or", "nor", "&"})


def read_statuses(tokens: Sequence[Token], mentions: Sequence[Mention], depictions: frozenset[str]) -> list[Status]:
    """What the sentence says of each mention, in their order. depictions: nouns that show others (statue, painting)."""
    by_start = {mention.start: mention for mention in mentions}
    statuses = {mention.start: _own_status(tokens, mention) for mention in mentions}
    for place in range(len(tokens)):
        for mention, status in find_denied(tokens, by_start, place):
            if statuses[mention.start] != "denied":
                statuses[mention.start] = status
        for mention in _absent_subjects(tokens, mentions, place):
            statuses[mention.start] = deny(mention)
        for mention in find_alternatives(tokens, by_start, place):
            if statuses[mention.start] == "affirmed":
                statuses[mention.start] = "unsaid"
    for mention in find_supposed(tokens, by_start, depictions):
        statuses[mention.start] = "unsaid"
    for mention in absent_antecedents(tokens, by_start):
        statuses[mention.start] = "denied"
    for mention in _refuted(tokens, by_start):
        statuses[mention.start] = "denied"
    statuses |= _read_heading(tokens, mentions)
    for mention in mentions:
        if statuses[mention.start] == "unsaid" and _is_seen(tokens, mention):
            statuses[mention.start] = "affirmed"
    return [statuses[mention.start] for mention in mentions]


def _read_heading(tokens: Sequence[Token], mentions: Sequence[Mention]) -> dict[int, Status]:
    """What is said of a noun that heads a line of a list, if that is not that it is there: "Dogs: There are no dogs",
    "Umbrella: not visible".
    """
    if not mentions or mentions[0].end >= len(tokens) or tokens[mentions[0].end].word != ":":
        return {}
    head = mentions[0]
    if head.phrase.counted or any(token.word.isalpha() for token in tokens[: head.start]):
        return {}
    if any(mention.name == head.name for mention in mentions[1:]):
        return {head.start: "unsaid"}
    answer = [token.word for token in tokens[head.end + 1 : head.end + 4]]
    is_absent = (
        answer in (["no"], ["0"], ["zero"]) or answer[:1] == ["none"] or not english.ABSENCE.isdisjoint(answer[:1])
    )
    is_denied = answer[:1] in (["not"], ["no"]) and not english.PRESENCE.isdisjoint(answer[1:2])
    return {head.start: "denied"} if is_absent or is_denied else {}


def _own_status(tokens: Sequence[Token], mention: Mention) -> Status:
    """What the mention's own words say: nobody, zero dogs."""
    word = tokens[mention.start].word
    if mention.word == PRONOUN:
        if word in english.NOBODY | {"no"}:
            return deny(mention)
        return "unsaid" if word in english.ANYBODY else "affirmed"
    return "denied" if mention.number == 0 else "affirmed"


def _absent_subjects(tokens: Sequence[Token], mentions: Sequence[Mention], place: int) -> list[Mention]:
    """The subjects of a predicate at this token that says they are not there: "is not visible", "are missing"."""
    if not _says_absent(tokens, place):
        return []
    begin = place
    while begin and not begins_clause(tokens, begin):
        begin -= 1
    subjects = [mention for mention in mentions if begin <= mention.start < place]
    listed = _list_before(tokens, mentions, begin)
    if listed and subjects:
        subjects, begin = [*listed, *subjects], listed[0].phrase.left
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


def _list_before(tokens: Sequence[Token], mentions: Sequence[Mention], begin: int) -> list[Mention]:
    """The mentions of a list that begins its clause and whose last item begins here: dogs, cats, and birds."""
    listed: list[Mention] = []
    for mention in reversed([mention for mention in mentions if mention.end <= begin]):
        if any(token.word not in _COORDINATIONS for token in tokens[mention.end : begin]):
            break
        listed.insert(0, mention)
        begin = mention.phrase.left
    return listed if not begin or (listed and begins_clause(tokens, begin)) else []


def absent_antecedents(tokens: Sequence[Token], mentions: Mapping[int, Mention]) -> Iterator[Mention]:
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
        it = before[-2:] in _IT_IS and before[:1] in (["but"], ["yet"], [","])
        if (is_last and (none or one)) or (it and _says_absent(tokens, place)):
            yield latest


def _refuted(tokens: Sequence[Token], mentions: Mapping[int, Mention]) -> Iterator[Mention]:
    """What a claim that is called false is about: "the claim that there is a dog is wrong"."""
    words = [token.word for token in tokens]
    for place, (word, after) in enumerate(pairwise(words)):
        if word in _CLAIMS and after == "that":
            ends = (k for k in range(place, len(words) - 1) if words[k] == "is" and words[k + 1] in english.UNTRUE)
            end = next(ends, place)
            yield from (mention for start, mention in mentions.items() if place < start < end)


def _is_seen(tokens: Sequence[Token], mention: Mention) -> bool:
    """Whether a clause about it says that it is there: "it mentions a dog, which is visible"."""
    words = [token.word for token in tokens[mention.end : mention.end + 4]]
    return words[:3] in ([",", "which", "is"], [",", "which", "are"]) and not english.PRESENCE.isdisjoint(words[3:])


def _says_absent(tokens: Sequence[Token], place: int) -> bool:
    word = tokens[place].word
    before = tokens[place - 1].word if place else ""
    after = [token.word for token in tokens[place + 1 : place + 7]]
    if word in english.ABSENCE or (
        word == "out" and after[:1] == ["of"] and not english.PICTURES.isdisjoint(after[:3])
    ):
        is_predicate = before in english.COPULAS or before in _BEFORE_ABSENCE
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
