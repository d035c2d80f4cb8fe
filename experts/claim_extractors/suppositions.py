"""Objects that a sentence names without saying whether they are there: supposed, compared to, waited for, written.

One rule per kind of word; each yields the mentions it touches. Definite nouns are spared where the sentence takes them
for granted ("the dog might be hungry" is about a dog that is there), but not under "if" and "whether".
"""

from collections.abc import Iterator, Mapping, Sequence

from experts.claim_extractors import english
from experts.claim_extractors.mentions import Mention
from experts.claim_extractors.reach import reach
from experts.claim_extractors.tokens import Token

_LIKE_PHRASES = {
    "similar": "to", "compared": "to with", "comparable": "to", "reminiscent": "of", "size": "of", "shape": "of",
    "form": "of", "mistaken": "for", "identical": "to", "think": "of about", "thinking": "of about",
    "thoughts": "of about", "smaller": "than", "style": "of", "used": "to",
    "confused": "with for", "strength": "of", "heart": "of", "speed": "of", "look": "of", "appearance": "of",
    "sound": "of", "noise": "of", "smell": "of", "scent": "of", "story": "about of", "movie": "about", "film": "about",
    "book": "about", "song": "about", "article": "about", "joke": "about", "documentary": "about",
}  # fmt: skip
_WHOLE_PICTURES = english.words("image picture photo photograph shot view scene snapshot close-up closeup portrait")
_BEFORE_A_WHOLE_PICTURE = english.COLOURS | english.words(
    "this is not the a an it here in and , that shows old vintage cropped blurry beautiful detailed of close up "
    "close-up closeup wide aerial side grainy candid indoor outdoor stock color colour"
)
_MAX_TITLE_TOKENS = 12
_POLITE = english.words("say think guess estimate describe call like")
_OPEN_JUDGEMENTS = english.words("possible conceivable unlikely doubtful")
_LIKERS = english.PRONOUNS | frozenset({"would", "people", "not", "to"})


def find_supposed(
    tokens: Sequence[Token], mentions: Mapping[int, Mention], depictions: frozenset[str]
) -> Iterator[Mention]:
    """The mentions of a sentence that it neither affirms nor denies. mentions: by first token."""
    for place in range(len(tokens)):
        yield from _conditions(tokens, mentions, place)
        yield from _guesses(tokens, mentions, place)
        yield from _comparisons(tokens, mentions, place)
        yield from _purposes(tokens, mentions, place)
        yield from _depicted(tokens, mentions, place, depictions)
        yield from _written(tokens, mentions, place)


def _conditions(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[Mention]:
    """Everything under "if" and "whether", and under a verb of asking or claiming."""
    word = tokens[place].word
    is_asked = word == "question" and place > 0 and tokens[place - 1].word == "in"  # the object in question
    is_inverted = place == 0 and word in ("had", "should", "were")  # had there been a bus
    if not is_asked and (word in english.CONDITIONS or word in english.REPORTS or is_inverted):
        yield from (found.mention for found in reach(tokens, mentions, place + 1))
    elif word in english.WISHES and tokens[place - 1].word not in ("no", "without"):  # but there is no doubt
        yield from (found.mention for found in reach(tokens, mentions, place + 1) if not found.mention.is_given)


def _guesses(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[Mention]:
    """What may or would be: nouns behind the word, and an indefinite subject right before it."""
    word = tokens[place].word
    after = tokens[place + 1].word if place + 1 < len(tokens) else ""
    if word not in english.HEDGES | english.MODALS and not (word in _OPEN_JUDGEMENTS and after == "that"):
        return
    if word == "would" and (
        after in _POLITE or any(token.word in english.UNTRUE for token in tokens[place : place + 4])
    ):
        return
    if word == "could" and any(english.SEEING.fullmatch(token.word) for token in tokens[place + 1 : place + 3]):
        return
    is_apposition = after in english.ARTICLES
    for found in reach(tokens, mentions, place + 1):
        if not found.mention.is_given or (is_apposition and found.is_direct and word not in english.MODALS):
            yield found.mention
    if word in english.MODALS:
        subjects = (mentions[begin] for begin in range(max(0, place - 4), place) if begin in mentions)
        yield from (m for m in subjects if m.end == place and not m.is_given and not m.possessor)


def _comparisons(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[Mention]:
    """What something is like, larger than, or dressed as."""
    begin = _begin_of_comparison(tokens, place)
    if begin is not None:
        for found in reach(tokens, mentions, begin, stops_at_verb=True):
            if found.is_direct and not found.mention.is_given:
                yield found.mention


def _begin_of_comparison(tokens: Sequence[Token], place: int) -> int | None:
    """The token at which what is compared to begins; None if the token at `place` compares nothing."""
    word = tokens[place].word
    after = tokens[place + 1].word if place + 1 < len(tokens) else ""
    if word in _LIKE_PHRASES and after in _LIKE_PHRASES[word].split():
        return place + 2
    compares = (
        word in english.COMPARISONS
        or (word == "like" and _likens(tokens, place, after))
        or (word == "than" and _compares_sizes(tokens, place))
        or (word == "as" and _casts(tokens, place, after))
        or (word == "what" and _deceives(tokens, place, after))
    )
    return place + 1 if compares else None


def _likens(tokens: Sequence[Token], place: int, after: str) -> bool:
    """Whether "like" compares ("looks like a dog") and does not list examples ("objects like a chair")."""
    before = tokens[place - 1].word if place else ""
    if before in _LIKERS or before in english.EXAMPLES or after == "there":
        return False
    is_one = after in ("a", "an", "the", "one")
    return is_one or not before.endswith("s") or before in english.LIKENESS_VERBS


def _compares_sizes(tokens: Sequence[Token], place: int) -> bool:
    """Whether "than" compares with what need not be there; "more dogs than cats" says that both are."""
    before = [token.word for token in tokens[max(0, place - 4) : place]]
    return not ({"more", "fewer"} & {*before}) and before[-1:] not in (["less"], ["rather"], ["other"])


def _casts(tokens: Sequence[Token], place: int, after: str) -> bool:
    """Whether "as" compares: dressed as a bear, as strong as an ox, as if; but not "as well as a dog"."""
    before = [token.word for token in tokens[max(0, place - 2) : place]]
    if after in ("if", "though") or (after in ("a", "an") and not english.ROLES.isdisjoint(before)):
        return True
    return before[:1] == ["as"] and before[-1] not in ("well", "many", "much", "long", "soon", "as")


def _deceives(tokens: Sequence[Token], place: int, after: str) -> bool:
    """Whether it turns out not to be so: what looks like a bear is in fact a dog."""
    if after not in english.LIKENESS_VERBS | {"appears", "appear"}:
        return False
    return any(token.word in ("actually", "fact", "really") for token in tokens[place : place + 20])


def _purposes(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[Mention]:
    """What is waited, looked or made for, and kinds in general: dogs are often friendly."""
    word = tokens[place].word
    if word == "for":
        before = {token.word for token in tokens[max(0, place - 2) : place]}
        is_awaited = not before.isdisjoint(english.AWAITED)
        for found in reach(tokens, mentions, place + 1):
            mention = found.mention
            is_any = mention.plural and mention.phrase.article == "bare"
            if found.is_direct and not mention.is_given and (is_awaited or is_any):
                yield mention
            if not is_awaited:
                return
    elif word in english.GENERALLY:
        subjects = (mentions[begin] for begin in range(max(0, place - 4), place) if begin in mentions)
        yield from (m for m in subjects if m.plural and m.phrase.article == "bare" and place - m.end <= 1)


def find_alternatives(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[Mention]:
    """The two that an "or" at this token leaves open: a cat or a dog; but a sofa or couch is one."""
    if tokens[place].word != "or":
        return
    left = next((mentions[begin] for begin in range(place - 1, max(-1, place - 4), -1) if begin in mentions), None)
    right = next((mentions[begin] for begin in range(place + 1, place + 6) if begin in mentions), None)
    if left is not None and left.end != place:
        left = None
    if right is not None and right.phrase.left != place + 1:
        right = None
    if left is not None and right is not None and left.name == right.name:
        return
    for mention in (left, right):
        if mention is not None and not mention.plural and mention.phrase.article == "indefinite":
            yield mention


def _depicted(
    tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int, depictions: frozenset[str]
) -> Iterator[Mention]:
    """What a statue or a painting shows, though not what the picture itself shows."""
    if tokens[place].word != "of" or not place:
        return
    shown_by = tokens[place - 1].word
    if shown_by in _WHOLE_PICTURES:
        if place < _MAX_TITLE_TOKENS and all(
            token.word in _BEFORE_A_WHOLE_PICTURE or token.word == shown_by for token in tokens[: place - 1]
        ):
            return
    elif shown_by not in depictions and shown_by.removesuffix("s") not in depictions:
        return
    for found in reach(tokens, mentions, place + 1, in_phrase=True, stops_at_verb=True):
        if found.is_direct:
            yield found.mention


def _written(tokens: Sequence[Token], mentions: Mapping[int, Mention], place: int) -> Iterator[Mention]:
    """Words that a sign says, without quotation marks, and names: a dog called Bear."""
    word = tokens[place].word
    before = tokens[place - 1].word if place else ""
    says = word in english.READS and before in english.WRITTEN
    is_text = word in ("is", "are") and any(
        t.word in ("text", "word", "words", "letters") for t in tokens[max(0, place - 12) : place]
    )
    if not (says or is_text or word in english.NAMED):
        return
    for found in reach(tokens, mentions, place + 1):
        if found.mention.phrase.article != "bare" or found.mention.phrase.counted:
            return
        yield found.mention
