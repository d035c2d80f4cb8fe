"""Whether a word of the lexicon is a noun here and means the object itself: no verb, no adjective, no describer.

"dog house" names no dog, "a toy car" no car, and who "skis down a slope" wears what he likes. Without a tagger, these
are rules of the neighbouring words and of the lexicon's lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from experts.claim_extractors import english
from experts.claim_extractors.noun_phrases import NounPhrase, read_number
from experts.claim_extractors.tokens import Token
from experts.lexicon import Form, Lexicon

_BEFORE_A_VERB = english.MODALS | english.words("to can will must do does did not they we you i who")
_BEFORE_A_VERB_IN_S = english.words("he she it who which that")
_ARTICLES_OF_AN_OBJECT = english.words("a an the his her its their my your our")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A form of the lexicon in a sentence. start, end: its tokens. follows_singular, follows_plural: a mention of that
    number ends right before it.
    """

    tokens: Sequence[Token]
    start: int
    end: int
    form: Form
    phrase: NounPhrase
    lexicon: Lexicon
    follows_singular: bool = False
    follows_plural: bool = False

    def word_at(self, place: int) -> str:
        """The word at a token, "" outside the sentence."""
        return self.tokens[place].word if 0 <= place < len(self.tokens) else ""

    @property
    def before(self) -> str:
        """The word before it."""
        return self.word_at(self.start - 1)

    @property
    def after(self) -> str:
        """The word behind it."""
        return self.word_at(self.end)


def names_object(candidate: Candidate) -> bool:
    """Whether the word stands for the object that the lexicon has it for."""
    form, phrase = candidate.form, candidate.phrase
    if is_unreal(candidate):
        return False
    if candidate.tokens[candidate.end - 1].possessive:  # but not children's books, a ladies' room
        return form.number != "plural" or phrase.article not in ("bare", "indefinite")
    return not _is_describer(candidate) and not _is_verb(candidate) and _stands_alone(candidate)


def is_unreal(candidate: Candidate) -> bool:
    """Whether an adjective takes back what the noun says: a toy car."""
    unmade = candidate.lexicon.words.look_alikes
    adjectives = candidate.tokens[candidate.phrase.left : candidate.start]
    return any({"*", candidate.form.name} & {*unmade.get(token.word, ())} for token in adjectives)


def _is_describer(candidate: Candidate) -> bool:
    """Whether it only describes the next word: the dog of a dog house, the couple of a couple of dogs."""
    form, lexicon, after = candidate.form, candidate.lexicon, candidate.after
    if form.collective and after == "of":
        return not is_number_alone(candidate)
    if form.number == "plural" or not after or after in english.FUNCTION_WORDS:
        return False
    if form.number == "singular" and _speaks_of_several(candidate) and after.endswith("s"):
        return True
    behind = candidate.word_at(candidate.end + 1)
    if (after in english.PARTICIPLES or after.endswith("ed")) and behind in english.PREPOSITIONS | {"like"}:
        return False  # a pizza cut into slices, a cake shaped like a car
    if after in lexicon.heads:  # but a zebra crossing the road
        return not (after.endswith("ing") and behind in english.ARTICLES)
    if after in lexicon.words.heads_singular_only:
        return not _shares_a_verb(candidate)
    return _is_noun(candidate, behind)


def _speaks_of_several(candidate: Candidate) -> bool:
    """Whether a plural must follow: the two bus of "two bus stops"; there are no bus stops."""
    phrase = candidate.phrase
    if candidate.word_at(phrase.left - 1) in ("are", "were"):
        return True
    return (phrase.counted and phrase.number not in (None, 0, 1)) or phrase.article_word in ("several", "many", "few")


def _shares_a_verb(candidate: Candidate) -> bool:
    """Whether the next word is the verb of this noun and one before it: "a fork and a knife rest on the plate"."""
    left = candidate.phrase.left
    if (
        candidate.word_at(left - 1) != "and"
        or candidate.phrase.article_word == "no"
        or not candidate.word_at(candidate.end + 1)
    ):
        return False
    before = [token.word for token in candidate.tokens[:left]]
    return not any(word in english.AUXILIARIES or english.SEEING.fullmatch(word) for word in before)


def _is_noun(candidate: Candidate, behind: str) -> bool:
    """Whether the next word is another noun of the lexicon: the baseball of a baseball bat."""
    token = candidate.tokens[candidate.end]
    found = candidate.lexicon.find([token.raw], [token.word], 0)
    if found is None or (found[1].name is None and not found[1].ambiguous):
        return False
    may_be_verb = found[1].number != "singular" and found[1].word in candidate.lexicon.words.verbs
    is_person = candidate.form.name == candidate.lexicon.words.anybody
    return not (may_be_verb and (is_person or behind in _ARTICLES_OF_AN_OBJECT))


def is_number_alone(candidate: Candidate) -> bool:
    """The four of "a family of four", but not of "a team of four horses"."""
    if read_number(candidate.word_at(candidate.end + 1)) is None:
        return False
    behind = candidate.word_at(candidate.end + 2)
    return candidate.lexicon.find([behind], [behind], 0) is None


def _is_verb(candidate: Candidate) -> bool:
    form, phrase, before = candidate.form, candidate.phrase, candidate.before
    if candidate.end - candidate.start > 1 or form.word not in candidate.lexicon.words.verbs:
        return False
    is_bare = phrase.article == "bare" and not phrase.counted
    if is_bare and candidate.after in _ARTICLES_OF_AN_OBJECT:
        return True
    if form.number != "singular":
        return phrase.clashes or before in _BEFORE_A_VERB_IN_S or candidate.follows_singular
    follows_plural = before.isalpha() and before.endswith("s") and before not in english.FUNCTION_WORDS
    return before in _BEFORE_A_VERB or candidate.follows_plural or (is_bare and follows_plural)


def _stands_alone(candidate: Candidate) -> bool:
    """Whether a word that may be a colour, a game, a brand or a means of transport is an object here."""
    words, form, before = candidate.lexicon.words, candidate.form, candidate.before
    if form.number == "plural":
        return True
    if candidate.phrase.article == "bare":
        if form.word in words.uncountable or (form.word in words.adjectives and not _is_alternative(candidate)):
            return False
        is_brand = candidate.tokens[candidate.start].capital and before.isalpha()  # a product of Apple
        if is_brand and not candidate.tokens[candidate.start - 1].capital:
            return False
        if before == "by" and form.word in words.transport:
            return False
    return form.word not in words.adjectives or not _describes_colour(candidate)


def _is_alternative(candidate: Candidate) -> bool:
    """Whether it shares the article of an object before it: no apple or orange."""
    if candidate.before not in ("or", "nor"):
        return False
    other = candidate.word_at(candidate.start - 2)
    return candidate.lexicon.canonical_name(other) is not None and other not in candidate.lexicon.words.adjectives


def _describes_colour(candidate: Candidate) -> bool:
    """Whether a word that is also an adjective is one: the orange of an orange shirt, or of orange and black."""
    after, behind = candidate.after, candidate.word_at(candidate.end + 1)
    if candidate.before in english.COLOUR_STRENGTHS:
        return True
    if after in ("and", "or", ",") and behind in english.COLOURS:
        return True
    if not after[:1].isalnum() or after in english.FUNCTION_WORDS | english.PARTICIPLES | english.PRESENCE:
        return False
    if after.endswith(("ing", "ed", "ly")):
        return False
    return not (after.endswith("s") and candidate.phrase.article_word in ("a", "an", "another"))
