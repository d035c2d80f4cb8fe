"""VL-RewardBench: groups, counts, measures and baselines; published outputs counted by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrm.engines.fake import FakeEngine
from training.evaluation.report import Report
from training.evaluation.setup import Setup
from training.evaluation.vlrewardbench import evaluate_vlrewardbench, find_group, rescore_outputs
from training.tables import SourceError

SHARED_ROWS = Path(__file__).parents[4] / "shared" / "data" / "vlrewardbench" / "rows.jsonl"
MakeSetup = Callable[..., Setup]


def value(report: Report, section: str, name: str = "overall (micro)") -> float:
    return report.sections[section][name]["value"]


def name_groups(rows_file: Path) -> None:
    """Give the first four rows a group of their own."""
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    named = [json.dumps(row | {"group": "counting"} if number < 4 else row) for number, row in enumerate(rows)]
    rows_file.write_text("\n".join(named) + "\n")


@pytest.mark.parametrize(
    ("row_id", "group"),
    [
        ("RLAIF-V_12", "hallucination"),
        ("RLHF-V-3", "hallucination"),
        ("hallucination_pair-1", "hallucination"),
        ("mathverse_7", "reasoning"),
        ("mmmu-1_2", "reasoning"),
        ("wildvision-battle_9", "general"),
        ("rlhf-v_3", "general"),
        ("svit", "general"),
    ],
)
def test_groups_follow_the_official_rule_which_minds_case(row_id: str, group: str) -> None:
    assert find_group(row_id) == group


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED_ROWS.is_file(), reason="the benchmark's rows are not beside the checkout")
async def test_on_the_whole_benchmark_always_first_scores_one_half(make_setup: MakeSetup) -> None:
    setup = make_setup(verdict="first", source=str(SHARED_ROWS), show_images=False)
    report = await evaluate_vlrewardbench(setup)
    assert report.counts == {"general": 183, "hallucination": 749, "reasoning": 318, "judged": 1250}
    assert abs(value(report, "verdict over both orders") - 0.5) <= 0.001
    assert abs(value(report, "mean of the orders") - 0.5) <= 0.001
    assert value(report, "order as given") == 0.996
    assert round(value(report, "baseline: response with fewer words"), 3) == 0.568
    assert value(report, "behaviour", "first-position rate") == 1.0
    assert report.skipped == []


async def test_other_rows_than_the_benchmark_s_are_refused_unless_allowed(make_setup: MakeSetup) -> None:
    with pytest.raises(SourceError, match="general 4, hallucination 12, reasoning 8; VL-RewardBench has general 183"):
        await evaluate_vlrewardbench(make_setup())
    assert (await evaluate_vlrewardbench(make_setup(), allow_subset=True)).counts["judged"] == 24


async def test_rows_of_other_data_keep_the_group_that_they_name(make_setup: MakeSetup, rows_file: Path) -> None:
    name_groups(rows_file)
    report = await evaluate_vlrewardbench(make_setup(), allow_subset=True)
    assert report.counts["counting"] == 4
    with pytest.raises(SourceError, match="general 4, hallucination 12, reasoning 8"):
        await evaluate_vlrewardbench(make_setup())


async def test_the_report_has_table_plots_and_strict_json(make_setup: MakeSetup, tmp_path: Path) -> None:
    await evaluate_vlrewardbench(make_setup(verdict="first"), allow_subset=True, text_only=True)
    folder = tmp_path / "output"
    assert {path.name for path in folder.iterdir()} == {
        "accuracy.png", "judge.json", "reliability.png", "report.html", "report.json", "report.txt", "verdicts.jsonl"
    }  # fmt: skip
    record = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert record["settings"]["judge"]["model"] == "fake"
    assert record["sections"]["order as given"]["overall (micro)"]["value"] == 0.5
    assert "baseline: same judge, grey picture" in (folder / "report.txt").read_text()


async def test_a_missing_picture_is_reported_with_its_id_and_the_run_goes_on(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path
) -> None:
    (rows_file.parent / "3.png").unlink()
    report = await evaluate_vlrewardbench(make_setup(), allow_subset=True)
    assert report.counts["judged"] == 23
    assert [(row.id, "cannot be read" in row.reason) for row in report.skipped] == [("mathverse_4-3", True)]
    record = json.loads((tmp_path / "output" / "report.json").read_text())
    assert record["skipped"]["num"] == 1


async def test_unparsed_answers_are_counted_in_three_ways(make_setup: MakeSetup) -> None:
    report = await evaluate_vlrewardbench(make_setup(verdict="none"), allow_subset=True)
    found = {c: value(report, f"mean of the orders, unparsed {c}") for c in ("wrong", "half")}
    assert found == {"wrong": 0.0, "half": 0.5}
    assert report.sections["mean of the orders, unparsed dropped"]["overall (micro)"]["num"] == 0
    assert value(report, "behaviour", "unparsed rate") == 1.0


async def test_a_second_run_asks_the_judge_nothing(make_setup: MakeSetup) -> None:
    first, second = FakeEngine(), FakeEngine()
    one = await evaluate_vlrewardbench(make_setup(engine=first), allow_subset=True)
    other = await evaluate_vlrewardbench(make_setup(engine=second), allow_subset=True)
    assert (first.num_calls, second.num_calls) == (24, 0)
    assert one.sections == other.sections


def output(row: dict[str, Any], exchanged: int, answer: int) -> dict[str, Any]:
    return {
        "id": row["id"],
        "query": row["query"],
        "response": row["response"],
        "ranking": row["human_ranking"],
        "meta": {"random_number": exchanged, "filter_number": answer, "flag_status": "whatever"},
    }


def write_outputs(path: Path, rows_file: Path, votes: list[tuple[int, int]], *, num_rows: int = 24) -> Path:
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()][:num_rows]
    path.write_text("".join(json.dumps(output(row, *vote)) + "\n" for row in rows for vote in votes))
    return path


def test_published_outputs_are_counted_by_order_and_by_the_official_majority(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path
) -> None:
    """Half of the rows have A as the better one. Three votes each: Answer 1 in both orders, and one unparsed "3"."""
    outputs = write_outputs(tmp_path / "outputs.jsonl", rows_file, [(0, 1), (1, 1), (0, 3)])
    report = rescore_outputs(make_setup(), outputs, allow_subset=True)
    assert value(report, "order as given") == 0.5
    assert value(report, "order exchanged") == 0.5
    assert value(report, "behaviour", "first-position rate") == 1.0
    assert value(report, "behaviour", "unparsed rate") == pytest.approx(1 / 3)
    assert value(report, "behaviour", "consistency") == 0.0
    assert report.sections["verdict over both orders, unparsed dropped"]["overall (micro)"]["num"] == 0


def test_published_outputs_may_be_wrapped_and_may_miss_rows(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path
) -> None:
    outputs = write_outputs(tmp_path / "outputs.jsonl", rows_file, [(0, 1), (0, 1), (1, 2)], num_rows=20)
    outputs.write_text("".join(json.dumps({"0": json.loads(line)}) + "\n" for line in outputs.read_text().splitlines()))
    report = rescore_outputs(make_setup(), outputs, allow_subset=True)
    assert report.counts["judged"] == 20
    assert len(report.skipped) == 4
    assert value(report, "verdict over both orders") == 0.5  # all prefer A
    assert value(report, "behaviour", "consistency") == 1.0


@pytest.mark.parametrize("line", ["{", "[1]", '{"id": "x"}', '{"id": "x", "query": "", "response": [], "meta": {}}'])
def test_a_line_that_is_no_output_is_named(make_setup: MakeSetup, tmp_path: Path, line: str) -> None:
    (tmp_path / "outputs.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(SourceError, match="Line 2 of"):
        rescore_outputs(make_setup(), tmp_path / "outputs.jsonl", allow_subset=True)
