"""The lexicon: every COCO name, its plurals and synonyms, and a user's own file with clear refusals."""

import json
from pathlib import Path

import pytest

from experts.claims import extract_claims
from experts.lexicon import COCO_LEXICON, Lexicon, LexiconError, default_lexicon


def write_lexicon(folder: Path, **contents: object) -> Path:
    path = folder / "lexicon.json"
    path.write_text(json.dumps({"source": "a test", **contents}), encoding="utf-8")
    return path


def test_all_eighty_coco_names_are_known_by_their_own_name() -> None:
    lexicon = default_lexicon()
    assert len(lexicon.names) == 80
    assert [lexicon.canonical_name(name) for name in lexicon.names] == list(lexicon.names)


@pytest.mark.parametrize("name", default_lexicon().names)
def test_a_text_that_says_there_are_two_claims_two(name: str) -> None:
    forms = default_lexicon().forms
    plural = next((text for text, form in forms.items() if form.word == name and form.number == "plural"), name)
    claims = extract_claims(f"There are two {plural} in the image.")
    assert [(claim.name, claim.count) for claim in claims] == [(name, 2)]


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("people", "person"),
        ("women", "person"),
        ("policemen", "person"),
        ("passersby", "person"),
        ("mice", "mouse"),
        ("geese", "bird"),
        ("oxen", "cow"),
        ("calves", None),
        ("sheep", "sheep"),
        ("knives", "knife"),
        ("buses", "bus"),
        ("scissors", "scissors"),
        ("skis", "skis"),
        ("glasses of wine", "wine glass"),
        ("TV sets", "tv"),
        ("Hot-Dogs", "hot dog"),
        ("sofa", "couch"),
        ("bow tie", "tie"),
        ("dog house", None),
        ("dog cat", None),
        ("", None),
    ],
)
def test_a_phrase_has_one_canonical_name_or_none(phrase: str, name: str | None) -> None:
    assert default_lexicon().canonical_name(phrase) == name


def test_the_shipped_lexicon_states_its_source() -> None:
    assert "Lin et al., 2014" in Lexicon.load(COCO_LEXICON).words.source


def test_names_and_synonyms_are_enough_for_a_lexicon_of_one_s_own(tmp_path: Path) -> None:
    lexicon = Lexicon.load(write_lexicon(tmp_path, objects={"cactus": ["saguaro"], "tumbleweed": []}))
    claims = extract_claims("Three saguaros and no tumbleweed. Nobody rides a horse.", lexicon)
    assert [(c.name, c.polarity, c.count) for c in claims] == [
        ("cactus", "affirmed", 3),
        ("tumbleweed", "denied", None),
    ]


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ({"objects": {}}, "objects"),
        ({"objects": {"dog": "puppy"}}, "objects → dog"),
        ({"objects": {"dog": []}, "synonyms": {}}, "synonyms"),
        ({"objects": {"dog": ["pet"], "cat": ["pet"]}}, "'pet' stands for 'dog' and 'cat'"),
        ({"objects": {"dog": [""]}}, "objects → dog → 0"),
        ({"objects": {"dog": []}, "anybody": "person"}, "'person' is used but is no object"),
        ({"objects": {"dog": []}, "collectives": {"pack": ["wolf", None]}}, "'wolf' is used but is no object"),
    ],
)
def test_a_lexicon_that_contradicts_itself_is_refused_by_name(
    tmp_path: Path, contents: dict[str, object], complaint: str
) -> None:
    path = write_lexicon(tmp_path, **contents)
    with pytest.raises(LexiconError) as refusal:
        Lexicon.load(path)
    assert complaint in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_lexicon_that_is_missing_or_no_json_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LexiconError, match=r"nowhere\.json cannot be read"):
        Lexicon.load(tmp_path / "nowhere.json")
    broken = tmp_path / "broken.json"
    broken.write_bytes(b"\xff{")
    with pytest.raises(LexiconError, match=r"broken\.json is no JSON"):
        Lexicon.load(broken)


def test_no_word_of_the_lists_is_written_twice() -> None:
    contents = json.loads(COCO_LEXICON.read_text(encoding="utf-8"))
    lists = {key: value for key, value in contents.items() if isinstance(value, list)}
    assert {key: sorted({w for w in words if words.count(w) > 1}) for key, words in lists.items()} == {
        key: [] for key in lists
    }
