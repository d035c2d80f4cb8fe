"""The study of experts' mistakes: what each reader is credited with, and that a killed study asks nothing twice."""

from pathlib import Path

import pytest

from experts.fake import FakeExpert
from genrm.engines.fake import FakeEngine
from pocket.exchanges import Group
from pocket.expert_bench import PAIR_KINDS
from pocket.expert_study import CONDITIONS, hallucination_pairs, run_study, save_study

pytestmark = pytest.mark.usefixtures("emoji_font")


def test_all_comparisons_are_about_objects() -> None:
    pairs = hallucination_pairs(20, seed=1)
    assert len({pair.id for pair in pairs}) == 20
    assert all(pair.group == Group.HALLUCINATION or pair.record["kind"] in PAIR_KINDS for pair in pairs)


def test_a_study_compares_readers_and_goes_on_where_it_was(tmp_path: Path) -> None:
    blind = FakeExpert()  # never finds anything
    report = run_study(FakeEngine(), blind, tmp_path, num_pairs=6, num_noisy=3, seed=1)
    conditions = report["conditions"]
    assert isinstance(conditions, list)
    assert [row["judge"]["num"] for row in conditions] == [6] + [3] * (len(CONDITIONS) - 1)
    assert conditions[0]["filter_catches_wrong"]["value"] > 0  # it contradicts whatever is claimed …
    assert conditions[0]["filter_drops_right"]["value"] > 0  # … true or not
    assert all(path.stat().st_size > 100 for path in save_study(report, tmp_path))
    again = FakeEngine()
    assert run_study(again, blind, tmp_path, num_pairs=6, num_noisy=3, seed=1) == report
    assert again.num_calls == 0
