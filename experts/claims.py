"""The objects that a text says are there, how many, where in the image, and those that it denies.

`extract_claims` reads them with rules and a lexicon; `ClaimExtractor` is what it shares with the other ways to read a
text (`experts.claim_extractors`). Whether a claim is true is not decided here but in `experts.verify`.

Ours: no tagger or parser is needed, so that a deployment without further models can check objects. What that costs is
measured in tests/experts/test_claims_on_sentences.py.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from experts.claim_extractors.counting import Sighting, count_objects
from experts.claim_extractors.image_places import read_places
from experts.claim_extractors.mentions import Mention, read_mentions
from experts.claim_extractors.scope import Status, absent_antecedents, read_statuses
from experts.claim_extractors.surroundings import describe_sighting
from experts.claim_extractors.tokens import Sentence, Token, split_sentences
from experts.lexicon import Lexicon, default_lexicon
from experts.places import Place
from genrm.errors import GenRMError


class ClaimsUnreadableError(GenRMError, ValueError):
    """An extractor could not read the claims of a text. Treat its objects as unchecked; another extractor may do it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a text says about one kind of object. name: as the lexicon calls it."""

    name: str
    polarity: Literal["affirmed", "denied"]
    count: int | None
    """How many the text says there are, at least 1; None where it does not say, or denies them."""
    is_exact: bool = False
    """Whether the text counts ("one dog", "two dogs"); "a dog" says that there is one and not that there is no other.
    """
    is_narrower: bool = False
    """Whether what it denies or counts are some objects of the name only ("no puppy", "no red car", "two women"), so
    that there may be others.
    """
    place: Place | None = None
    """Where in the image the text says that it is, if it says so clearly and of one object only."""
    mention: str
    """The first words that stand for it, as the text has them."""


_MAX_SHORT_CHARACTERS = 500
"""A text up to this long is read in about 15 ms at most."""

T = TypeVar("T")


async def read_beside(read: Callable[[str], T], text: str) -> T:
    """What a function reads of a text; of a long one in a thread, since half a second is too long for the event loop,
    which serves others. For a short one that would cost more than it spares.
    """
    if len(text) <= _MAX_SHORT_CHARACTERS:
        return read(text)
    return await asyncio.to_thread(read, text)


class ClaimExtractor(Protocol):
    """A way to read claims off a text.

    Asynchronous, because one way asks a language model, and the others compute for up to a second.
    """

    async def extract(self, text: str) -> tuple[Claim, ...]:
        """One claim per object, in the order of their first mentions. Raises GenRMError if the text cannot be read:
        its objects are then unchecked.
        """


class LexiconExtractor:
    """Reads claims by rules. lexicon: the objects to look for; the COCO names by default."""

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self._lexicon = lexicon

    async def extract(self, text: str) -> tuple[Claim, ...]:
        """See `extract_claims`."""
        return await read_beside(lambda given: extract_claims(given, self._lexicon), text)


def extract_claims(text: str, lexicon: Lexicon | None = None) -> tuple[Claim, ...]:
    """The objects that an English text affirms or denies, each once, in the order of their first mentions.

    Objects that are only asked about, supposed, compared to or quoted give no claim. Never raises; time grows linearly
    with the text. lexicon: the COCO names by default.
    """
    lexicon = lexicon or default_lexicon()
    sentences = list(split_sentences(text))
    cues = {token.word for sentence in sentences for token in sentence.tokens}
    readings: list[MentionReading] = []
    for index, sentence in enumerate(sentences):
        if sentence.asks:
            answer = sentences[index + 1].tokens if index + 1 < len(sentences) else ()
            readings += _read_question(text, index, sentence, answer, lexicon, cues)
        else:
            readings += _read_sentence(text, index, sentence, lexicon, cues)
    return merge_readings(readings, lexicon)


def find_mentions(text: str, lexicon: Lexicon | None = None) -> tuple[str, ...]:
    """The names of the objects that a text speaks of, whatever it says or asks of them, in order of first mention."""
    lexicon = lexicon or default_lexicon()
    sentences = list(split_sentences(text))
    cues = {token.word for sentence in sentences for token in sentence.tokens}
    found = (mention.name for s in sentences for mention in read_mentions(s.tokens, lexicon, cues))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True, slots=True)
class MentionReading:
    """One mention with what its sentence says of it. text: as it is written. place: in the image."""

    sighting: Sighting
    status: Status
    text: str
    place: Place | None = None


def merge_readings(readings: Sequence[MentionReading], lexicon: Lexicon) -> tuple[Claim, ...]:
    """One claim per name; what is affirmed anywhere is affirmed ("no dog on the sofa, but a dog on the bed")."""
    by_name: dict[str, list[MentionReading]] = {}
    for reading in readings:
        if reading.status != "unsaid":
            by_name.setdefault(reading.sighting.mention.name, []).append(reading)
    claims = []
    for name, found in by_name.items():
        said = [reading for reading in found if reading.status == "affirmed"]
        affirmed = [reading.sighting for reading in said]
        counted = [sighting.mention for sighting in affirmed if sighting.mention.phrase.counted]
        denied = [] if affirmed else [reading.sighting.mention for reading in found]
        count = count_objects(affirmed, lexicon) if affirmed else None
        place = _find_place(said, count)
        # "one cup in the lower left" says nothing of cups elsewhere
        is_placed = place is not None and all(r.place for r in said if r.sighting.mention.phrase.counted)
        is_exact = count is not None and bool(counted) and not is_placed
        claims.append(
            Claim(
                name=name,
                polarity="affirmed" if affirmed else "denied",
                count=count,
                is_exact=is_exact,
                is_narrower=_speak_of_some(counted) if is_exact else _speak_of_some(denied, by_adjectives=True),
                place=place,
                mention=found[0].text,
            )
        )
    return tuple(claims)


def _find_place(affirmed: Sequence[MentionReading], count: int | None) -> Place | None:
    """The place of the one object that the mentions of a name speak of; None where they may speak of several, or name
    several places.
    """
    places = {reading.place for reading in affirmed if reading.place is not None}
    is_one = count in (1, None) and not any(reading.sighting.mention.plural for reading in affirmed)
    return places.pop() if is_one and len(places) == 1 else None


def _speak_of_some(mentions: Sequence[Mention], *, by_adjectives: bool = False) -> bool:
    """Whether there are mentions and all mean some objects of their name only. by_adjectives: "red car" is enough."""
    return bool(mentions) and all(m.is_kind or (by_adjectives and m.is_described) for m in mentions)


def describe_mentions(
    text: str,
    index: int,
    tokens: Sequence[Token],
    mentions: Sequence[Mention],
    statuses: Sequence[Status],
    *,
    places: Mapping[int, Place] | None = None,
) -> list[MentionReading]:
    """The mentions of one sentence as `merge_readings` needs them. index: of the sentence in the text. places: in the
    image, by first token of the mention.
    """
    readings = []
    for number, (mention, status) in enumerate(zip(mentions, statuses, strict=True)):
        first, last = tokens[mention.start], tokens[mention.end - 1]
        end = last.end - (len(last.raw) - len(last.word) if mention.possessor else 0)
        sighting = describe_sighting(tokens, mentions, number, sentence=index)
        place = (places or {}).get(mention.start)
        readings.append(MentionReading(sighting=sighting, status=status, text=text[first.start : end], place=place))
    return readings


def _read_sentence(text: str, index: int, sentence: Sentence, lexicon: Lexicon, cues: set[str]) -> list[MentionReading]:
    mentions = read_mentions(sentence.tokens, lexicon, cues)
    statuses = read_statuses(sentence.tokens, mentions, frozenset(lexicon.words.depictions))
    places = read_places(sentence.tokens, mentions)
    return describe_mentions(text, index, sentence.tokens, mentions, statuses, places=places)


def _read_question(
    text: str, index: int, question: Sentence, answer: Sequence[Token], lexicon: Lexicon, cues: set[str]
) -> list[MentionReading]:
    """A question claims nothing, but the sentence behind it can deny what it asks for: "A dog? There is none."."""
    mentions = read_mentions(question.tokens, lexicon, cues)
    tokens = (*question.tokens, *answer)
    spoken = {mention.start: mention for mention in read_mentions(tokens, lexicon, cues)}
    denied = {mention.start for mention in absent_antecedents(tokens, spoken)}
    asked = [mention for mention in mentions if mention.start in denied]
    return describe_mentions(text, index, question.tokens, asked, ["denied"] * len(asked))
