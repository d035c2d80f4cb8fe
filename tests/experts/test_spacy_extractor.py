"""Claims read off a dependency parse: on sentences parsed by hand, and with a real model where one is installed."""

import asyncio
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from threading import get_ident, main_thread
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest

from experts.claim_extractors import spacy_extractor
from experts.claim_extractors.spacy_extractor import DEFAULT_MODEL, Node, SpacyExtractor, load_pipeline
from genrm.errors import ModelLoadError

needs_spacy = pytest.mark.skipif(find_spec("spacy") is None, reason="spaCy is not installed (extra: spacy)")
needs_model = pytest.mark.skipif(
    find_spec("spacy") is None or find_spec(DEFAULT_MODEL) is None,
    reason=f"spaCy or its model {DEFAULT_MODEL} is not installed",
)


class FakeDocument(SimpleNamespace):
    """A document without sentences, as a pipeline gives it."""

    def __init__(self, text: str) -> None:
        super().__init__(text=text, sents=())

    def __iter__(self) -> Iterator[Node]:
        return iter(())


Document = Any
"""A `spacy.tokens.Doc`; spaCy's types are there only where it is installed."""


def parse(*rows: str) -> Document:
    """A document from rows "word TAG head dependency", the head counted from 0; the parse spaCy's own models give."""
    spacy, tokens = import_module("spacy"), import_module("spacy.tokens")
    words, tags, heads, deps = zip(*(row.split() for row in rows), strict=True)
    universal = {"NN": "NOUN", "NNS": "NOUN", "IN": "ADP", "VB": "VERB", "AU": "AUX", "DT": "DET", "JJ": "ADJ"}
    pos = [universal.get(tag, "X") for tag in tags]
    lemmas = [{"is": "be", "are": "be", "were": "be"}.get(word.lower(), word.lower()) for word in words]
    vocab = spacy.blank("en").vocab
    return tokens.Doc(vocab, words=words, tags=tags, pos=pos, heads=[int(h) for h in heads], deps=deps, lemmas=lemmas)


async def read(*rows: str) -> list[str]:
    """The claims of one parsed sentence, in short."""
    doc = parse(*rows)
    claims = await SpacyExtractor(lambda _: doc).extract(doc.text)
    return [f"no {c.name}" if c.polarity == "denied" else f"{c.name} {c.count or '?'}" for c in claims]


async def test_parses_run_one_at_a_time_and_never_in_the_event_loop() -> None:
    running: list[int] = []
    most = 0

    def parse_slowly(text: str) -> SimpleNamespace:
        nonlocal most
        running.append(get_ident())
        most = max(most, len(running))
        sleep(0.05)
        assert running.pop() != main_thread().ident
        return FakeDocument(text)

    extractor = SpacyExtractor(parse_slowly)
    assert await asyncio.gather(*(extractor.extract("A dog.") for _ in range(4))) == [()] * 4
    assert most == 1


@needs_spacy
async def test_a_determiner_denies_its_noun_and_what_is_coordinated_with_it() -> None:
    assert await read(
        "There EX 1 expl",
        "is VB 1 ROOT",
        "no DT 3 det",
        "dog NN 1 attr",
        "or CC 3 cc",
        "cat NN 3 conj",
        "on IN 3 prep",
        "the DT 8 det",
        "sofa NN 6 pobj",
    ) == ["no dog", "no cat", "couch 1"]


@needs_spacy
async def test_a_negated_verb_denies_its_object_and_not_its_subject() -> None:
    assert await read(
        "The DT 1 det",
        "woman NN 4 nsubj",
        "is AU 4 aux",
        "not RB 4 neg",
        "wearing VB 4 ROOT",
        "a DT 6 det",
        "tie NN 4 dobj",
    ) == ["person 1", "no tie"]


@needs_spacy
async def test_a_negated_predicate_of_presence_denies_its_subject() -> None:
    assert await read("The DT 1 det", "bus NN 2 nsubj", "is AU 2 ROOT", "n't RB 2 neg", "visible JJ 2 acomp") == [
        "no bus"
    ]


@needs_spacy
async def test_a_noun_that_only_describes_another_is_no_claim() -> None:
    assert await read(
        "Three CD 2 nummod", "dog NN 2 compound", "houses NNS 2 ROOT", "beside IN 2 prep", "a DT 5 det", "car NN 3 pobj"
    ) == ["car 1"]


@needs_spacy
async def test_conditions_guesses_and_comparisons_are_no_claims() -> None:
    assert await read(
        "If IN 2 mark", "there EX 2 expl", "were VB 7 advcl", "a DT 4 det", "dog NN 2 attr", ", , 7 punct",
        "I PRP 7 nsubj", "see VB 7 ROOT", "the DT 9 det", "cat NN 7 dobj",
    ) == ["cat 1"]  # fmt: skip
    assert await read("It PRP 2 nsubj", "might AU 2 aux", "be VB 2 ROOT", "a DT 4 det", "dog NN 2 attr") == []
    assert await read(
        "A DT 1 det", "man NN 2 nsubj", "walks VB 2 ROOT", "like IN 2 prep", "a DT 5 det", "bear NN 3 pobj"
    ) == ["person 1"]


@needs_spacy
async def test_a_preposition_can_deny() -> None:
    assert await read("A DT 1 det", "room NN 1 ROOT", "without IN 1 prep", "a DT 4 det", "couch NN 2 pobj") == [
        "no couch"
    ]


@needs_spacy
async def test_possessors_and_numbers_are_read_as_by_the_rules() -> None:
    assert await read(
        "A DT 1 det", "child NN 3 poss", "'s POS 1 case", "hand NN 4 nsubj", "holds VB 4 ROOT", "2 CD 6 nummod",
        "carrots NNS 4 dobj",
    ) == ["person 1", "carrot 2"]  # fmt: skip


@needs_spacy
def test_a_missing_model_is_named_with_how_to_install_it() -> None:
    with pytest.raises(ModelLoadError, match="python -m spacy download en_core_web_none"):
        load_pipeline("en_core_web_none")


def test_missing_spacy_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(spacy_extractor, "import_module", refuse)
    with pytest.raises(ModelLoadError, match=r"pip install 'vl-genrm\[spacy\]'.*spacy download en_core_web_sm"):
        load_pipeline()


@needs_model
async def test_a_real_model_reads_plain_sentences_as_the_rules_do() -> None:
    extractor = SpacyExtractor(load_pipeline())
    claims = await extractor.extract("Two dogs lie on a couch. There is no cat. Is there a bird?")
    assert [(c.name, c.polarity, c.count) for c in claims] == [
        ("dog", "affirmed", 2),
        ("couch", "affirmed", 1),
        ("cat", "denied", None),
    ]
