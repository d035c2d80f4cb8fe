"""Which English words name which objects: the lexicon that claims are read with.

It is data (`experts/lexicon/coco.json`: the 80 COCO names with our synonyms and words for kinds of them), so that
another domain brings its own.
Plurals come from `inflect` once, when a lexicon is loaded. Closed-class words (articles, numbers, negations) belong to
English and are not here; what a sentence says about an object is decided in `experts.claim_extractors`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from genrm.errors import GenRMError

COCO_LEXICON = Path(__file__).parent / "lexicon" / "coco.json"
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Number = Literal["singular", "plural", "either"]


class LexiconError(GenRMError, ValueError):
    """A lexicon file cannot be used: missing, no JSON, or its entries contradict each other. Correct the file."""


class LexiconFile(BaseModel):
    """The contents of a lexicon file. Only `source` and `objects` must be there. Words are singular if not said
    otherwise, and their case does not matter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1, description="Where the names and synonyms come from.")
    objects: dict[Word, tuple[Word, ...]] = Field(min_length=1, description="Name → synonyms of one word or several.")
    kinds: dict[Word, tuple[Word, ...]] = Field(
        default={}, description="Name → words for some of its objects only: no puppy, but other dogs perhaps."
    )
    irregular_plurals: dict[Word, Word] = Field(default={}, description="Plurals where `inflect` would be wrong.")
    collectives: dict[Word, tuple[Word, int | None]] = Field(
        default={}, description="Words for several: name and how many, null where they do not say (crowd; couple: 2)."
    )
    anybody: Word | None = Field(default=None, description='The name that "nobody" and "someone" speak of.')
    endings: dict[Word, Word] = Field(default={}, description="Last part of a word → name: man → person (milkman).")
    not_endings: tuple[Word, ...] = Field(default=(), description="Words to which the endings do not apply (snowman).")
    contexts: dict[Word, dict[Word, tuple[Word, ...]]] = Field(
        default={}, description="Ambiguous word → name → words of the text that decide for it; none: the default."
    )
    openers: dict[Word, Word] = Field(default={}, description="Adjectives that make any noun a name: potted fern.")
    not_objects: tuple[Word, ...] = Field(default=(), description="Compounds that name no object: bed of (flowers).")
    heads: tuple[Word, ...] = Field(default=(), description="Nouns that a name before them only describes: dog house.")
    heads_singular_only: tuple[Word, ...] = Field(
        default=(), description="The same, where the plural may be a verb: bus stop, but a bus stops."
    )
    look_alikes: dict[Word, tuple[Word, ...]] = Field(
        default={}, description='Adjectives of things that are not real → the names they unmake, "*" for all (toy car).'
    )
    depictions: tuple[Word, ...] = Field(default=(), description="Things that show others: statue of a horse.")
    adjectives: tuple[Word, ...] = Field(default=(), description="Words that are also adjectives: orange, remote.")
    uncountable: tuple[Word, ...] = Field(default=(), description="No object without an article: play football.")
    transport: tuple[Word, ...] = Field(default=(), description='No object behind a bare "by": by bus.')
    masses: tuple[Word, ...] = Field(default=(), description="Without an article, how many is not said: eat pizza.")
    pairs: tuple[Word, ...] = Field(default=(), description='Words of which "a pair" is one object: scissors.')
    verbs: tuple[Word, ...] = Field(default=(), description="Words that are also verbs: train, book.")
    animals: tuple[Word, ...] = Field(default=(), description="The names that may have kin.")
    kin: tuple[Word, ...] = Field(default=(), description="Words that mean another animal behind one: its mother.")
    traits: dict[Literal["male", "female", "young", "grown"], tuple[Word, ...]] = Field(
        default={}, description="Words that cannot mean the same one: boy and girl, boy and man."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to write a word. name: the object, or None where the word names none. word: its singular."""

    name: str | None
    word: str
    number: Number
    group_size: int | None = None
    """How many a collective stands for, where it says so."""
    collective: bool = False
    is_kind: bool = False
    """It stands for some objects of the name only: see `LexiconFile.kinds`. So does a collective: no crowd, but people.
    """
    ambiguous: bool = False
    """Other words of the text decide the name: see `LexiconFile.contexts`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lexicon:
    """Object names and every form that stands for them. Build with `Lexicon.load`."""

    names: tuple[str, ...]
    forms: Mapping[str, Form]
    """By lower-case text, one space between words."""
    longest: int
    """Words in the longest form."""
    heads: frozenset[str]
    """Forms of nouns that an object's name before them only describes."""
    plural_endings: Mapping[str, str]
    words: LexiconFile

    @staticmethod
    def load(path: Path) -> "Lexicon":
        """The lexicon of a file. Raises LexiconError with the file and what is wrong in it."""
        try:
            contents = LexiconFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise LexiconError(f"Lexicon {path} cannot be read ({error.strerror}). Give the path of a file.") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise LexiconError(f"Lexicon {path} is no JSON: {error}. See experts/lexicon/coco.json.") from error
        except ValidationError as error:
            raise LexiconError(f"Lexicon {path}: {_first_mistake(error)}. See experts/lexicon/coco.json.") from error
        return _build_lexicon(contents, path)

    def find(self, raw: Sequence[str], words: Sequence[str], start: int) -> tuple[int, Form] | None:
        """The longest form that starts at a token, and how many tokens it has; None if there is none.

        raw, words: the tokens in lower case with and without possessive endings; the ending counts inside a form only.
        """
        for size in range(min(self.longest, len(words) - start), 0, -1):
            text = " ".join((*raw[start : start + size - 1], words[start + size - 1])).replace("-", " ")
            form = self.forms.get(text)
            if form is not None:
                return size, form
        return None

    def canonical_name(self, phrase: str) -> str | None:
        """The name of the object that a phrase stands for, singular or plural; None if the lexicon does not know it."""
        form = self.find_phrase(phrase)
        return None if form is None else form.name

    def find_phrase(self, phrase: str) -> Form | None:
        """The form that a whole phrase is; None if the lexicon does not know it."""
        words = phrase.lower().split()
        found = self.find(words, words, 0)
        return found[1] if found is not None and found[0] == len(words) else None


@cache
def default_lexicon() -> Lexicon:
    """The lexicon of the 80 COCO names, read once."""
    return Lexicon.load(COCO_LEXICON)


def _first_mistake(error: ValidationError) -> str:
    mistake = error.errors()[0]
    place = " → ".join(str(part) for part in mistake["loc"])
    return f"{place or 'the file'}: {mistake['msg']}"


def _build_lexicon(contents: LexiconFile, path: Path) -> Lexicon:
    plurals = _Plurals(contents.irregular_plurals)
    unknown = _names_used(contents) - contents.objects.keys()
    if unknown:
        raise LexiconError(
            f"Lexicon {path}: {min(unknown)!r} is used but is no object. Add it to objects, or correct it."
        )
    forms: dict[str, Form] = {}
    for form, text in _list_forms(contents, plurals):
        key = " ".join(text.lower().replace("-", " ").split())
        known = forms.setdefault(key, form)
        if known.name != form.name:
            raise LexiconError(f"Lexicon {path}: {text!r} stands for {known.name!r} and {form.name!r}. Keep one.")
    return Lexicon(
        names=tuple(contents.objects),
        forms=forms,
        longest=max(len(text.split()) for text in forms),
        heads=frozenset(text for word in contents.heads for text, _ in plurals.forms(word)),
        plural_endings={ending: plurals.forms(ending)[-1][0] for ending in contents.endings},
        words=contents,
    )


def _names_used(contents: LexiconFile) -> set[str]:
    """Every name that the lists speak of."""
    names = {*contents.kinds, *contents.endings.values(), *contents.openers.values(), *contents.animals}
    names |= {name for name, _ in contents.collectives.values()}
    names |= {name for options in contents.contexts.values() for name in options}
    names |= {name for unmade in contents.look_alikes.values() for name in unmade} - {"*"}
    return names if contents.anybody is None else names | {contents.anybody}


def _list_forms(contents: LexiconFile, plurals: "_Plurals") -> Iterator[tuple[Form, str]]:
    """Every form with the text it is written as."""
    for name, synonyms in contents.objects.items():
        for word in (name, *synonyms):
            for text, number in plurals.forms(word):
                yield Form(name=name, word=word.lower(), number=number), text
    for name, kinds in contents.kinds.items():
        for word in kinds:
            for text, number in plurals.forms(word):
                yield Form(name=name, word=word.lower(), number=number, is_kind=True), text
    for word, (name, size) in contents.collectives.items():
        form = Form(name=name, word=word.lower(), number="either", group_size=size, collective=True, is_kind=True)
        yield form, word
    for word in contents.contexts:
        for text, number in plurals.forms(word):
            yield Form(name=None, word=word.lower(), number=number, ambiguous=True), text
    for phrase in contents.not_objects:
        for text, number in plurals.forms(phrase):
            yield Form(name=None, word=phrase.lower(), number=number), text


class _Plurals:
    """Plurals of English words. inflect is imported here because that alone takes about a second."""

    def __init__(self, irregular: Mapping[str, str]) -> None:
        import inflect

        self._engine: Any = inflect.engine()
        self._irregular = irregular

    def forms(self, word: str) -> list[tuple[str, Number]]:
        """A singular word and its plural, or the one form that is both."""
        irregular = self._irregular.get(word)
        plural = irregular if irregular is not None else str(self._engine.plural_noun(word))
        if plural.lower() == word.lower():
            return [(word, "either")]
        both: list[tuple[str, Number]] = [(word, "singular"), (plural, "plural")]
        return [*both, (f"{word}s", "plural")] if word.endswith("o") else both  # inflect says saguaroes
