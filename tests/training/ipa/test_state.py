"""The state of items, from what the rounds wrote down."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.ipa.items import Item
from training.ipa.state import ITEMS, count_states, hard_items, outcomes_file, read_states, write_states
from training.jobs.run_folder import RunFolder

MakeItem = Callable[..., Item]


def counts(passed: int) -> dict[str, int]:
    return {"candidates": 4, "passed": passed, "failed": 4 - passed, "pairs": passed, "feedback_pairs": 0}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Two rounds: a passes in round 1, b in round 2, c in none; d cannot be read."""
    folder = RunFolder(tmp_path)
    for number, lines in ((1, [{"a": 2, "b": 0}, {"c": 0}]), (2, [{"b": 1, "c": 0}])):
        (tmp_path / f"round-{number}").mkdir()
        for line in lines:
            items = {name: counts(passed) for name, passed in line.items()}
            folder.append_line(outcomes_file(number), {"items": items, "counts": {}})
    return folder


def test_an_item_passes_in_its_first_round_with_a_pass(folder: RunFolder, make_item: MakeItem) -> None:
    items = [make_item(name) for name in "abcd"]
    states = read_states(folder, items, last_round=2)
    assert [state.state for state in states] == [
        "passed in round 1", "passed in round 2", "still hard", "image unreadable",
    ]  # fmt: skip
    assert set(states[1].rounds) == {"1", "2"}


def test_hard_items_are_those_that_were_asked_about_and_did_not_pass(folder: RunFolder, make_item: MakeItem) -> None:
    items = [make_item(name) for name in "abcd"]
    for last_round, hard in ((1, "bc"), (2, "c")):
        states = read_states(folder, items, last_round=last_round)
        assert "".join(item.id for item in hard_items(items, states)) == hard


def test_states_can_be_counted_as_of_an_earlier_round(folder: RunFolder, make_item: MakeItem) -> None:
    states = read_states(folder, [make_item(name) for name in "abcd"], last_round=2)
    assert count_states(states, after_round=1) == {"passed in round 1": 1, "still hard": 2, "image unreadable": 1}
    assert count_states(states, after_round=2) == {
        "passed in round 1": 1, "passed in round 2": 1, "still hard": 1, "image unreadable": 1,
    }  # fmt: skip


def test_the_file_has_a_line_per_item(folder: RunFolder, make_item: MakeItem) -> None:
    states = read_states(folder, [make_item(name) for name in "abcd"], last_round=2)
    write_states(folder, states)
    lines = [json.loads(line) for line in (folder.path / ITEMS).read_text().splitlines()]
    assert [(line["id"], line["state"]) for line in lines] == [(state.id, state.state) for state in states]
    assert lines[1]["passed_in"] == 2
    assert lines[0]["rounds"]["1"]["pairs"] == 2
