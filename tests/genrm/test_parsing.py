"""The last legal verdict in a model's text counts, however it is dressed; everything else is no verdict."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm.parsing import parse_verdict
from genrm.prompts import LABELS, MARKER

VERDICTS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["Verdict:", "verdict:", "VERDICT:", "**Verdict:**", "Verdict :", "Final verdict:", "*Verdict*:"]),
    st.sampled_from(["", " ", "  ", "\n", " **", " `", ' "', " “", " ("]),
    st.sampled_from(LABELS),
    st.sampled_from(["", "**", "`", '"', ".", "!", ")", " response", " is better"]),
    st.sampled_from(["", "\n", " \n\n"]),
)
PROSE = st.text(max_size=80).filter(lambda text: "verdict" not in text.casefold())


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Verdict: First", "First"),
        ("Verdict: Second", "Second"),
        ("Verdict:First", "First"),
        ("verdict: second", "Second"),
        ("VERDICT: FIRST", "First"),
        ("**Verdict:** First", "First"),
        ("**Verdict**: Second", "Second"),
        ("Verdict: **Second**", "Second"),
        ("**Verdict: First**", "First"),
        ("__Verdict:__ _First_", "First"),
        ("### Verdict: `Second`", "Second"),
        ("Verdict:\n\nFirst", "First"),
        ('Verdict: "First".', "First"),
        ("Verdict: “Second”", "Second"),
        ("Verdict: [First]", "First"),
        ("My final verdict: First response, because it names the dog.", "First"),
        ("Verdict: First, as the second one invents a cat.", "First"),
    ],
)
def test_a_verdict_is_read_in_every_common_dress(text: str, label: str) -> None:
    assert parse_verdict(text).label == label


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n",
        "First",
        "The first response is better.",
        "Verdict:",
        "Verdict: ",
        "Verdict: Third",
        "Verdict: A",
        "Verdict: neither First nor Second",
        "Verdict: Firstly, the image shows a dog.",
        "Verdict: First of all, the image shows a dog.",
        "Verdict: First-rate answers, both of them.",
        "Verdict: First's claim is wrong.",
        "Verdict: Seconds pass.",
        "Verdict First",
        "Inverdict: First",
        "Verdict: Fırst",
        "Verdict: First or Second",
        "Verdict: First / Second",
        "Verdict: **First**|**Second**",
        "Verdict: 'First' or 'Second'",
    ],
)
def test_a_text_without_a_clear_choice_has_no_verdict(text: str) -> None:
    parsed = parse_verdict(text)
    assert parsed.label is None
    assert parsed.label_start is None
    assert parsed.critique == text.strip()


def test_the_last_legal_verdict_wins() -> None:
    parsed = parse_verdict("At first sight Verdict: First. But the cat is missing.\nVerdict: Second")
    assert parsed.label == "Second"
    assert parsed.critique == "At first sight Verdict: First. But the cat is missing."


def test_a_verdict_quoted_inside_the_critique_does_not_end_it() -> None:
    parsed = parse_verdict('The first response says "Verdict: Second" of itself, which is no claim.\nVerdict: First')
    assert parsed.label == "First"
    assert "which is no claim." in parsed.critique


def test_an_illegal_verdict_behind_a_legal_one_leaves_the_legal_one_standing() -> None:
    parsed = parse_verdict("Verdict: Second\nVerdict: unsure")
    assert parsed.label == "Second"
    assert parsed.critique == ""


def test_a_repeated_instruction_is_passed_over_for_the_real_verdict() -> None:
    assert parse_verdict("I shall write Verdict: First or Verdict: Second.\n\nVerdict: First").label == "First"
    assert parse_verdict("Verdict: Second\n(Allowed: Verdict: First or Second)").label == "Second"


@pytest.mark.parametrize(
    ("text", "critique"),
    [
        ("There is a dog.\nVerdict: First", "There is a dog."),
        ("There is a dog. Verdict: First", "There is a dog."),
        ("There is a dog.\n\n**Verdict:** First", "There is a dog."),
        ("There is a **dog.**\n### **Verdict: First**", "There is a **dog.**"),
        ("There is a dog.\n> Verdict: First", "There is a dog."),
        ("There is a `dog`. **Verdict: First**", "There is a `dog`."),
        ("Verdict: First because there is a dog.", ""),
    ],
)
def test_the_critique_is_what_stands_before_the_verdict_without_its_marks(text: str, critique: str) -> None:
    assert parse_verdict(text).critique == critique


def test_an_answer_that_was_started_with_the_marker_is_read_whole() -> None:
    assert parse_verdict(MARKER + " Second").label == "Second"


def test_labels_and_marker_can_be_others() -> None:
    parsed = parse_verdict("Grade: 3\nGrade: 4.", marker="Grade:", labels=("3", "4"))
    assert (parsed.label, parsed.critique) == ("4", "Grade: 3")


def test_a_label_that_begins_another_is_not_mistaken_for_it() -> None:
    assert parse_verdict("Grade: 10", marker="Grade:", labels=("1", "10")).label == "10"


@given(before=PROSE, verdict=VERDICTS)
def test_a_verdict_is_found_behind_any_prose(before: str, verdict: str) -> None:
    parsed = parse_verdict(f"{before}\n{verdict}")
    expected = re.search("First|Second", verdict)
    assert expected is not None
    assert parsed.label == expected.group()


@given(verdicts=st.lists(VERDICTS, min_size=1, max_size=4), between=PROSE)
def test_only_the_last_of_many_verdicts_decides(verdicts: list[str], between: str) -> None:
    text = f"\n{between}\n".join(verdicts)
    assert parse_verdict(text).label == parse_verdict(verdicts[-1]).label


@given(text=st.text(max_size=200))
def test_the_position_is_that_of_the_label(text: str) -> None:
    for candidate in (text, f"{text} Verdict: **Second** {text}"):
        parsed = parse_verdict(candidate)
        if parsed.label is None:
            assert parsed.critique == candidate.strip()
        else:
            assert parsed.label_start is not None
            assert candidate[parsed.label_start :].casefold().startswith(parsed.label.casefold())


@given(text=PROSE)
def test_prose_without_the_marker_never_has_a_verdict(text: str) -> None:
    assert parse_verdict(text).label is None


def test_a_long_hostile_text_is_searched_in_linear_time() -> None:
    # A pattern that backtracks would need hours for this and stall the suite.
    for filler in ("Verdict: ", "*" * 9, "Verdict" + " " * 9, "Verdict: First or ", '"Verdict: ("'):
        parse_verdict(filler * 30_000)
