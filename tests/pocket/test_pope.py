"""POPE's questions about the pocket world: true of their scenes, balanced, and like those that POPE publishes."""

from collections import Counter

import pytest

from pocket.pope import count_training_scenes
from pocket.scenes import Split, sample_scene
from pocket.training_source import PocketSourceError, open_split
from training.policy.pope import SAMPLINGS, ask_for
from training.policy.selection import PolicyQuestions, choose_questions
from training.tables import open_table


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_is_asked_for_is_there_or_not_as_the_label_says(sampling: str) -> None:
    rows = open_split(f"dev?n=40&seed=1&pope={sampling}")
    for index, row in enumerate(rows):
        scene = sample_scene(Split.DEV, index // 2 + 1_000_000)
        asked = [kind for kind in count_training_scenes().images if ask_for(kind) == row["text"]]
        assert len(asked) == 1
        assert bool(scene.of_kind(asked[0])) == (row["label"] == "yes")
    assert Counter(row["label"] for row in rows) == {"yes": 20, "no": 20}
    assert {row["category"] for row in rows} == {sampling}


def test_all_samplings_ask_for_the_same_object_that_is_there() -> None:
    rows = list(open_split("dev?n=60&pope=all"))
    assert Counter(row["category"] for row in rows) == dict.fromkeys(SAMPLINGS, 20)
    for place in range(0, 60, 6):
        assert len({row["image_id"] for row in rows[place : place + 6]}) == 1
        assert len({row["text"] for row in rows[place : place + 6 : 2]}) == 1


def test_popular_ones_are_among_the_most_frequent_of_the_training_scenes() -> None:
    """Ten are drawn from, and at most eight that are more frequent can be in the scene."""
    frequent = [name for name, _ in count_training_scenes().images.most_common(18)]
    asked = {row["text"] for row in open_split("dev?n=200&pope=popular") if row["label"] == "no"}
    assert asked <= {ask_for(name) for name in frequent}
    assert len(asked) > 5


def test_rows_are_the_same_each_time_and_others_with_another_seed() -> None:
    texts = [[row["text"] for row in open_split(f"dev?n=30&seed={seed}&pope=random")] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_policy_can_be_asked_them() -> None:
    asked = choose_questions(PolicyQuestions(source="pocket:dev?n=12&pope=all")).questions["pope"]
    assert {(question.sampling, question.label) for question in asked} == {
        (sampling, label) for sampling in SAMPLINGS for label in ("yes", "no")
    }
    assert len({question.image for question in asked}) == 2
    assert open_table("pocket:dev?n=12&pope=all").rows[-1]["question_id"] == asked[-1].id


@pytest.mark.parametrize("argument", ["dev?pope=", "dev?pope=often", "dev?pope=random&candidates=2"])
def test_what_is_no_sampling_is_refused_with_those_there_are(argument: str) -> None:
    with pytest.raises(PocketSourceError, match="random, popular, adversarial, all"):
        open_split(argument)
