"""Where a sentence names objects, and how many each noun speaks of.

Whether the sentence says that a mentioned object is there is decided in `experts.claim_extractors.scope`; how mentions
add up over a text, in `counting`.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import pairwise

from experts.claim_extractors import english
from experts.claim_extractors.noun_phrases import Article, NounPhrase, read_noun_phrase, read_number
from experts.claim_extractors.noun_reading import Candidate, names_object
from experts.claim_extractors.tokens import Token
from experts.lexicon import Form, Lexicon, Number

PRONOUN = "anybody"
"""The `Mention.word` of pronouns such as nobody and someone."""
_WHATEVER = english.words("actual real such clear obvious identifiable")
_MAX_TOKENS_TO_NUMBER = 30
_SINGULAR_VERBS = english.words("is was has does 's")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """One noun that names an object. start, end: its tokens. number: how many it speaks of; None: it does not say."""

    name: str
    word: str
    """The noun's singular: woman, of the object person."""
    start: int
    end: int
    number: int | None
    plural: bool
    phrase: NounPhrase
    possessor: bool = False
    is_kind: bool = False
    """The noun stands for some objects of the name only: no puppy, but perhaps other dogs."""
    is_described: bool = False
    """Adjectives narrow it down: no red car."""

    @property
    def is_given(self) -> bool:
        """Whether it speaks of something as known: the dog, his dog, both dogs."""
        return self.phrase.article in ("definite", "possessive")


def read_mentions(
    tokens: Sequence[Token],
    lexicon: Lexicon,
    cues: AbstractSet[str],
    *,
    is_object: Callable[[Candidate], bool] = names_object,
) -> list[Mention]:
    """The objects that a sentence names, in order.

    cues: the words of the whole text, for ambiguous nouns. is_object: whether a word of the lexicon stands for its
    object here.
    """
    raw, words = [token.raw for token in tokens], [token.word for token in tokens]
    pronouns = _find_pronouns(tokens, lexicon)
    mentions: list[Mention] = []
    place = floor = 0
    while place < len(tokens):
        if (pronoun := pronouns.get(place)) is not None:
            mentions.append(pronoun)
            place = floor = pronoun.end
        elif (found := _find_form(raw, words, place, lexicon, cues)) is None:
            place += 1
        else:
            size, form = found
            candidate = _build_candidate(tokens, place, place + size, form, lexicon, mentions, floor=floor)
            mention = _read(candidate, mentions) if form.name is not None and is_object(candidate) else None
            place += size
            if mention is not None:
                mentions.append(mention)
            if mention is not None or form.name is None:
                floor = place
    return mentions


def _find_form(
    raw: Sequence[str], words: Sequence[str], place: int, lexicon: Lexicon, cues: AbstractSet[str]
) -> tuple[int, Form] | None:
    found = lexicon.find(raw, words, place)
    if found is not None:
        size, form = found
        return (size, _resolve(form, lexicon, cues)) if form.ambiguous else found
    word = words[place]
    if "-" in word:
        first, _, last = word.rpartition("-")
        found = lexicon.find([last], [last], 0)
        return found if found is not None and read_number(first.split("-")[0]) is None else None
    if word in lexicon.words.openers and place + 1 < len(words) and words[place + 1] not in english.FUNCTION_WORDS:
        plural = words[place + 1].endswith("s") and not words[place + 1].endswith(("ss", "us"))
        name = lexicon.words.openers[word]
        return 2, Form(name=name, word=name, number="plural" if plural else "singular", is_kind=True)
    return _find_ending(word, lexicon)


def _resolve(form: Form, lexicon: Lexicon, cues: AbstractSet[str]) -> Form:
    """The form of an ambiguous word, with the name that the text's other words decide for."""
    for name, signs in lexicon.words.contexts[form.word].items():
        if not signs or not cues.isdisjoint(signs):
            return replace(form, name=name, ambiguous=False)
    return form


def _find_ending(word: str, lexicon: Lexicon) -> tuple[int, Form] | None:
    """The form of a compound written as one word, such as milkman."""
    for ending, name in lexicon.words.endings.items():
        for text in (ending, lexicon.plural_endings[ending]):
            stem = word.removesuffix(text)
            if len(stem) > 1 and stem != word and stem + ending not in lexicon.words.not_endings:
                number: Number = "singular" if text == ending else "plural"
                return 1, Form(name=name, word=stem + ending, number=number, is_kind=True)
    return None


def _build_candidate(
    tokens: Sequence[Token], start: int, end: int, form: Form, lexicon: Lexicon, before: list[Mention], *, floor: int
) -> Candidate:
    follows = before[-1] if before and before[-1].end == start and not before[-1].possessor else None
    return Candidate(
        tokens=tokens,
        start=start,
        end=end,
        form=form,
        phrase=read_noun_phrase(tokens, start, form, floor=floor),
        lexicon=lexicon,
        follows_singular=follows is not None and not follows.plural,
        follows_plural=follows is not None and follows.plural,
    )


def _read(candidate: Candidate, before: Sequence[Mention]) -> Mention:
    form, phrase = candidate.form, candidate.phrase
    stated = _number_stated_behind(candidate)
    if stated is not None:
        phrase = replace(phrase, counted=True)
    return Mention(
        name=_name_of_kin(candidate, before),
        word=form.word,
        start=candidate.start,
        end=candidate.end,
        number=_number(candidate) if stated is None else stated,
        plural=form.number == "plural" or form.collective,
        phrase=phrase,
        possessor=candidate.tokens[candidate.end - 1].possessive,
        is_kind=form.is_kind,
        is_described=phrase.article != "bare"
        and any(map(_narrows, candidate.tokens[phrase.left + 1 : candidate.start])),
    )


def _narrows(token: Token) -> bool:
    """Whether a word between article and noun picks some of the objects: red, but neither "visible" nor "two"."""
    word = token.word
    return word not in english.PRESENCE | english.FUNCTION_WORDS | _WHATEVER and read_number(word) is None


def _name_of_kin(candidate: Candidate, before: Sequence[Mention]) -> str:
    """The form's name; but the elephant's behind an elephant and "its mother", or "her mother" and nobody else."""
    words, phrase, name = candidate.lexicon.words, candidate.phrase, candidate.form.name
    assert name is not None
    if candidate.form.word not in words.kin or phrase.article != "possessive":
        return name
    kinds = [mention.name for mention in before]
    if not kinds or kinds[-1] not in words.animals or (phrase.article_word != "its" and words.anybody in kinds):
        return name
    return kinds[-1]


def _number(candidate: Candidate) -> int | None:
    form, phrase, words = candidate.form, candidate.phrase, candidate.lexicon.words
    is_behind_of = candidate.word_at(phrase.left - 1) == "of"
    if form.collective and not (phrase.counted and is_behind_of):
        return read_number(candidate.word_at(candidate.end + 1)) if candidate.after == "of" else form.group_size
    if phrase.counted:
        is_pair = form.word in words.pairs and is_behind_of
        return phrase.number // 2 if is_pair and phrase.number is not None else phrase.number
    if form.number == "plural" or phrase.partitive:
        return None
    if phrase.article == "quantified":
        return 1 if phrase.article_word in ("some", "any", "what", "which") and form.number == "singular" else None
    if phrase.article_word in ("each", "every", "all"):
        return None
    if form.number == "singular":
        return None if phrase.article == "bare" and form.word in words.masses else 1
    return 1 if phrase.article == "indefinite" or _agrees_with_singular(candidate) else None


def _number_stated_behind(candidate: Candidate) -> int | None:
    """The number of "the number of dogs in the image is 3"; None where nothing of the kind is said."""
    left = candidate.phrase.left
    if candidate.form.number == "singular" or [candidate.word_at(left - 2), candidate.word_at(left - 1)] != [
        "number",
        "of",
    ]:
        return None
    words = [token.word for token in candidate.tokens[candidate.end : candidate.end + _MAX_TOKENS_TO_NUMBER]]
    stated = (read_number(number) for verb, number in pairwise(words) if verb == "is")
    return next((number for number in stated if number is not None), None)


def _agrees_with_singular(candidate: Candidate) -> bool:
    """Whether a verb next to a noun that is its own plural says that there is one: the sheep is white."""
    return candidate.word_at(candidate.phrase.left - 1) in _SINGULAR_VERBS or candidate.after in _SINGULAR_VERBS


def _find_pronouns(tokens: Sequence[Token], lexicon: Lexicon) -> dict[int, Mention]:
    """Words that speak of anybody at all (someone, nobody, no one, everybody), by their token."""
    name = lexicon.words.anybody
    if name is None:
        return {}
    found = {}
    for place, token in enumerate(tokens):
        end = place + 1
        if token.word == "no" and end < len(tokens) and tokens[end].word == "one":
            end += 1
        elif token.word not in english.SOMEBODY | english.ANYBODY | english.EVERYBODY | english.NOBODY:
            continue
        is_all = token.word in english.EVERYBODY
        is_other = end < len(tokens) and tokens[end].word == "else"
        article: Article = "definite" if is_all else "indefinite"
        found[place] = Mention(
            name=name,
            word=PRONOUN,
            start=place,
            end=end,
            number=None if is_all else 1,
            plural=is_all,
            phrase=NounPhrase(left=place, article=article, additional=is_other),
        )
    return found
