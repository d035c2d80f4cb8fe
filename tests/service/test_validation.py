"""Complaints of the schema in our own words."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.schemas import JudgeRequest
from service.validation import name_param, refuse_invalid, shorten


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ((), None),
        (("question",), "question"),
        (("image", "url"), "image.url"),
        (("images", 2, "url"), "images[2].url"),
    ],
)
def test_a_field_is_named_as_a_caller_would_write_it(location: tuple[str | int, ...], name: str | None) -> None:
    assert name_param(location) == name


@given(st.text())
def test_a_shortened_text_is_one_short_line(text: str) -> None:
    short = shorten(text)
    assert len(short) <= 41
    assert len(short.splitlines()) <= 1


def test_of_a_long_text_only_the_start_is_looked_at() -> None:
    assert shorten(" " * 1_000 + "end") == "…"
    assert shorten("a b\n" * 1_000) == "a b " * 10 + "…"
    assert shorten(" a \n b ") == "a b"


@given(st.text(st.characters(codec=None, categories=["Cs", "L"])))
def test_a_shortened_text_can_be_encoded_whatever_it_is_made_of(text: str) -> None:
    assert shorten(text).encode().decode() == shorten(text)


def test_a_very_long_name_is_compared_with_no_field(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def find_none(name: str, *_: object) -> list[str]:
        compared.append(name)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", find_none)
    for num_characters in (64, 65, 1_000_000):
        _, param, message = refuse(
            f'{{"question": "q", "response_a": "a", "response_b": "b", "{"x" * num_characters}": 1}}'
        )
        assert param == "x" * 40 + "…"
        assert len(message) < 300
    assert compared == ["x" * 64]


def refuse(body: str) -> tuple[str, str | None, str]:
    with pytest.raises(ValidationError) as caught:
        JudgeRequest.model_validate_json(body, strict=True)
    refusal = refuse_invalid(caught.value.errors(), known=list(JudgeRequest.model_fields))
    return refusal.code, refusal.param, str(refusal)


def test_the_first_problem_decides_the_kind_and_others_are_told_too() -> None:
    code, param, message = refuse('{"question": "q", "response_a": 1, "response_b": "b", "mode": "x", "wine": 1}')
    assert (code, param) == ("invalid_value", "response_a")
    assert "'mode'" in message
    assert "'wine'" in message


def test_more_than_three_problems_are_counted() -> None:
    _, _, message = refuse('{"a": 1, "b": 2}')
    assert message.endswith("And 2 more.")


@pytest.mark.parametrize(
    ("value", "named"),
    [("null", "null"), ("true", "true"), ("12", "12"), ("[1]", "an array"), ("{}", "an object")],
)
def test_a_wrong_value_is_named_by_its_kind(value: str, named: str) -> None:
    _, _, message = refuse(f'{{"question": {value}, "response_a": "a", "response_b": "b"}}')
    assert message == f"Field 'question' was given {named}; it takes a string. Correct it."


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_whatever_is_wrong_the_message_is_short_and_tells_what_to_do(value: object) -> None:
    try:
        JudgeRequest.model_validate(
            {"question": "q", "response_a": "a", "response_b": "b", "samples": value}, strict=True
        )
    except ValidationError as error:
        message = str(refuse_invalid(error.errors(), known=()))
        assert len(message) < 200
        assert message.endswith("Correct it.")
