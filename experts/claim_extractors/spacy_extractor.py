"""Claims read off spaCy's dependency parse, for prose whose sentences are too long for rules of neighbouring words.

What is a noun, what only describes another one, and how far a negation or a supposition reaches comes from the parse;
the objects and their numbers are read as by the rules. spaCy and its model are not installed by default.

The labels are those of spaCy's English models (ClearNLP: dobj, pobj, attr, neg, …).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from threading import Lock
from typing import Any

from experts.claim_extractors import english
from experts.claim_extractors.mentions import Mention, read_mentions
from experts.claim_extractors.noun_reading import Candidate, is_unreal
from experts.claim_extractors.scope import Status
from experts.claim_extractors.tokens import Token, blank_quotes
from experts.claims import Claim, describe_mentions, merge_readings
from experts.lexicon import Lexicon, default_lexicon
from genrm.errors import ModelLoadError

DEFAULT_MODEL = "en_core_web_sm"
_SUBJECTS = frozenset({"nsubj", "nsubjpass"})
_SAME_PHRASE = frozenset({"conj", "appos"})
_DESCRIBING = frozenset({"compound", "nmod", "amod", "npadvmod"})
_SUPPOSING = english.MODALS | english.HEDGES
_CONDITIONS = frozenset({"if", "whether", "unless", "though"})
_PRESENT = english.PRESENCE | english.PICTURES
_COMPARING = frozenset({"like", "than", "as", "unlike"})


Node = Any
"""A `spacy.tokens.Token`; spaCy's types are there only where it is installed."""


class SpacyExtractor:
    """Reads claims with a spaCy pipeline: an English one with a tagger and a parser, see `load_pipeline`."""

    def __init__(self, pipeline: Callable[[str], Any], lexicon: Lexicon | None = None) -> None:
        self._pipeline = pipeline
        self._lexicon = lexicon or default_lexicon()
        self._turn = Lock()  # nobody promises that a pipeline bears two threads

    async def extract(self, text: str) -> tuple[Claim, ...]:
        """One claim per object, in the order of first mentions. In a thread: a parse would hold the event loop up."""
        return await asyncio.to_thread(self._read, text)

    def _read(self, text: str) -> tuple[Claim, ...]:
        with self._turn:
            doc = self._pipeline(blank_quotes(text))
        cues = {node.lower_ for node in doc}
        readings = []
        for index, sentence in enumerate(doc.sents):
            if sentence.text.rstrip().endswith("?"):
                continue
            nodes = [node for node in sentence if not node.is_space and node.tag_ != "POS"]
            tokens = [_to_token(node) for node in nodes]
            mentions = read_mentions(tokens, self._lexicon, cues, is_object=partial(_is_object, nodes))
            statuses = [read_status(mention, nodes) for mention in mentions]
            readings += describe_mentions(text, index, tokens, mentions, statuses)
        return merge_readings(readings, self._lexicon)


def load_pipeline(model: str = DEFAULT_MODEL) -> Callable[[str], Any]:
    """The spaCy pipeline of a name or folder. Raises ModelLoadError naming what to install."""
    download = f"python -m spacy download {model}"
    try:
        spacy = import_module("spacy")
    except ImportError as error:
        raise ModelLoadError(
            f"The spaCy extractor needs spaCy. Install the extra with: pip install 'vl-genrm[spacy]', then: {download}"
        ) from error
    try:
        pipeline: Callable[[str], Any] = spacy.load(model)
    except OSError as error:
        raise ModelLoadError(
            f"spaCy has no pipeline {model!r}. Install it with: {download}, or give the folder of one."
        ) from error
    return pipeline


def read_status(mention: Mention, nodes: Sequence[Node]) -> Status:
    """What a parsed sentence says of a mention. nodes: of the sentence, one for each token."""
    node = nodes[mention.end - 1]
    phrase_head = _head_of_phrase(node)
    if mention.number == 0 or _is_nobody(nodes[mention.start]) or _has_no(node) or _has_no(phrase_head):
        return "denied"
    is_direct = True
    for child in _path_to_root(phrase_head):
        head = child.head
        if head.pos_ == "ADP" or head.lower_ in _COMPARING:
            if head.lower_ == "without" and is_direct:
                return "denied"
            if head.lower_ in _COMPARING and not mention.is_given:
                return "unsaid"
        elif head.pos_ in ("VERB", "AUX"):
            found = _status_under(child, head, is_given=mention.is_given, is_direct=is_direct)
            if found is not None:
                return found
        else:
            is_direct = False  # behind a preposition of another noun
    return "affirmed"


def _status_under(child: Node, verb: Node, *, is_given: bool, is_direct: bool) -> Status | None:
    """What a verb says of what stands below it through `child`; None: nothing yet, ask the verb above."""
    words = {node.lower_ for node in verb.children}
    is_subject = child.dep_ in _SUBJECTS
    if words & _CONDITIONS:
        return "unsaid"
    if words & _SUPPOSING and not is_given:
        return "unsaid"
    negated = any(node.dep_ == "neg" for node in verb.children) or (
        not is_subject and any(node.dep_ in _SUBJECTS and (_has_no(node) or _is_nobody(node)) for node in verb.children)
    )
    if not negated:
        return None
    if is_subject:
        complements = {verb.lower_, *(node.lower_ for node in verb.subtree if node.i > verb.i)}
        is_absent = verb.lower_ in english.PRESENCE or (verb.lemma_ == "be" and complements & _PRESENT)
        return "denied" if is_absent else None
    if is_direct and (not is_given or english.SEEING.fullmatch(verb.lower_)):
        return "denied"
    return None if is_given else "unsaid"


def _head_of_phrase(node: Node) -> Node:
    """The first of several coordinated nouns: the dog of "no dog or cat"."""
    while node.dep_ in _SAME_PHRASE and node.head.pos_ in ("NOUN", "PROPN") and not _has_article(node):
        node = node.head
    return node


def _path_to_root(node: Node) -> Iterator[Node]:
    while node.head.i != node.i:
        yield node
        node = node.head


def _has_no(node: Node) -> bool:
    return any(child.lower_ in ("no", "neither", "zero") for child in node.children if child.i < node.i)


def _has_article(node: Node) -> bool:
    return any(child.dep_ in ("det", "poss", "nummod") for child in node.children)


def _is_nobody(node: Node) -> bool:
    return node.lower_ in english.NOBODY | {"none", "nothing"} or (node.lower_ == "one" and _has_no(node))


def _is_object(nodes: Sequence[Node], candidate: Candidate) -> bool:
    node = nodes[candidate.end - 1]
    if is_unreal(candidate) or node.pos_ not in ("NOUN", "PROPN"):
        return False
    if candidate.tokens[candidate.end - 1].possessive:
        return candidate.form.number != "plural" or candidate.phrase.article not in ("bare", "indefinite")
    is_bare = candidate.phrase.article == "bare" and candidate.form.number != "plural"
    return node.dep_ not in _DESCRIBING and not (is_bare and candidate.form.word in candidate.lexicon.words.uncountable)


def _to_token(node: Node) -> Token:
    """A node as the rules have it; an ending of possession belongs to its noun."""
    following = node.nbor() if node.i + 1 < len(node.doc) else None
    possessive = following is not None and following.tag_ == "POS"
    ending = following.lower_ if possessive and following is not None else ""
    word = {"n't": "not", "n’t": "not"}.get(node.lower_, node.lower_)
    return Token(
        start=node.idx,
        end=node.idx + len(node.text) + len(ending),
        raw=word + ending,
        word=word,
        capital=node.is_title,
        possessive=possessive,
    )
