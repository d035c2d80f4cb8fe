"""From rows with references to labelled pairs, with experts that are told what to find."""

import errno
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from experts.contract import StatementInquiry
from experts.fake import FakeChecker, FakeExpert
from experts.panel import ExpertPanel
from genrm.engines.contract import Completion, Prompt
from genrm.engines.fake import FakeEngine
from genrm.errors import InvalidImageError
from training.jobs.config import read_config
from training.jobs.files import DiskFullError
from training.jobs.run_folder import RunFolder
from training.preferences import vl_genrm
from training.preferences.editing import RuleEditor
from training.preferences.experts import Experts, open_panel
from training.preferences.pairs import NoPairsError, with_own_ids
from training.preferences.vl_genrm import PairMaker, PreferenceConfig
from training.sources import Example, RowError, read_pairs

MakePhoto = Callable[[int], Image.Image]
REFERENCES = ("There is a dog.", "There is a cat.", "There are two buses.", "There is a bird.")


@pytest.fixture
def make_photo() -> MakePhoto:
    """Pictures of soft shapes, another one per number."""

    def make(number: int) -> Image.Image:
        pixels = np.random.default_rng(number).integers(0, 256, size=(12, 12, 3), dtype=np.uint8)
        return Image.fromarray(pixels).resize((300, 300), Image.Resampling.BICUBIC)

    return make


def example(reference: str | None = "There is a dog.", *, name: str = "r", image: bool = True) -> Example:
    def load() -> tuple[Image.Image, ...]:
        if not image:
            raise RowError("its image cannot be read.")
        return (Image.new("RGB", (32, 32)),)

    return Example(id=name, question="What is there?", reference=reference, load_images=load, record={"group": "g"})


async def make(
    finds: dict[str, int] | None, examples: list[Example], *, checker: FakeChecker | None = None, **values: Any
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """What a maker gives for rows of which the experts find `finds`; None for no experts."""
    config = PreferenceConfig(
        output=Path("unused"), source="unused", **{"edits_per_row": 8, "pairs_per_row": 8, **values}
    )
    panel = None if finds is None else ExpertPanel([FakeExpert(finds)], checkers=[] if checker is None else [checker])
    try:
        editor = RuleEditor(("What is there?", reference) for reference in REFERENCES)
        return await PairMaker(FakeEngine(), panel, editor, config).make(examples, first_index=0)
    finally:
        if panel is not None:
            panel.close()


async def test_a_pair_says_who_made_it_what_was_found_and_why_it_passed() -> None:
    rows, _ = await make({"dog": 1}, [example()])
    row = next(row for row in rows if row["error_kind"] == "object")
    assert row["chosen"] == "There is a dog."
    assert row["chosen_by"] == "reference"
    assert row["rejected_by"] == "rule editor"
    assert row["passed"] == "error-seen"
    assert json.loads(row["evidence_chosen"])[0]["finding"] == "supported"
    assert {item["phrase"] for item in json.loads(row["sightings"])} >= {"dog"}


async def test_an_error_that_is_really_in_the_image_is_dropped() -> None:
    everything = {"dog": 1, "cat": 1, "bird": 1, "bus": 1}
    rows, counts = await make(everything, [example()], sampled={"per_row": 0})
    assert "object" not in {row["error_kind"] for row in rows}
    assert counts["edited: error-is-in-image"] >= 1


async def test_a_reference_that_the_experts_contradict_gives_nothing() -> None:
    rows, counts = await make({"cat": 1}, [example()], sampled={"per_row": 0})
    assert rows == []
    assert counts["edited: chosen-not-borne-out"] >= 1


async def test_a_sampled_answer_that_nobody_can_check_is_not_called_wrong() -> None:
    rows, counts = await make({"dog": 1}, [example()], sampled={"per_row": 2})
    assert "sampled" not in {row["error_kind"] for row in rows}
    assert counts["sampled: not-checkable"] + counts["repetition"] >= 2


async def test_a_sampled_answer_is_wrong_if_a_checker_of_statements_calls_it_false() -> None:
    class Sceptic(FakeChecker):
        """Believes no answer of the fake engine, which all speak of a hashed picture."""

        def check(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
            return [tuple(0.01 if "hashed" in each else 0.9 for each in asked.statements) for asked in inquiries]

    rows, counts = await make({"dog": 1}, [example()], checker=Sceptic(), sampled={"per_row": 2})
    sampled = [row for row in rows if row["error_kind"] == "sampled"]
    assert {row["passed"] for row in sampled} == {"error-seen"}
    assert counts["sampled: not-checkable"] == 0
    assert {item["kind"] for item in json.loads(sampled[0]["evidence_rejected"])} >= {"statement"}
    assert {item["phrase"] for item in json.loads(sampled[0]["sightings"])} >= {"dog"}  # of objects only


def test_statements_may_be_checked_without_any_detector() -> None:
    panel = open_panel(Experts(models=(), statements="shipped"))
    assert panel is not None
    assert [member.name for member in panel.members] == ["statements"]
    panel.close()
    assert open_panel(Experts(models=())) is None
    with pytest.raises(ValueError, match="miss_rate and false_alarm_rate are of detectors"):
        Experts(models=(), statements="shipped", miss_rate=0.1)


async def test_without_experts_errors_are_taken_at_their_makers_word() -> None:
    rows, _ = await make(None, [example()])
    assert {row["passed"] for row in rows} == {"not-checkable"}
    assert "sampled" not in {row["error_kind"] for row in rows}


async def test_rows_without_image_or_reference_are_counted_and_the_rest_goes_on() -> None:
    rows, counts = await make({"dog": 1}, [example(None), example(image=False, name="s"), example(name="t")])
    assert counts["row-unusable"] == 2
    assert {row["id"].split("#")[0] for row in rows} == {"t"}


async def test_a_row_that_the_model_refuses_is_counted_and_named_and_the_rest_goes_on(
    make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    complete = FakeEngine.complete

    async def refuse(self: FakeEngine, prompts: Sequence[Prompt], *arguments: Any, **options: Any) -> list[Completion]:
        if any(prompt.images[0].size == (1, 300) for prompt in prompts):
            raise InvalidImageError("The image is too narrow.")
        return await complete(self, prompts, *arguments, **options)

    monkeypatch.setattr(FakeEngine, "complete", refuse)
    pictures = {"r": make_photo(1), "s": Image.new("RGB", (1, 300)), "t": make_photo(2)}
    examples = [
        replace(example(name=name), load_images=lambda name=name: (pictures[name],))  # type: ignore[misc]
        for name in pictures
    ]
    rows, counts = await make({"dog": 1}, examples)
    assert {row["id"].split("#")[0] for row in rows} == {"r", "t"}
    assert counts["row-refused-by-the-model"] == 1
    assert "Row s was skipped: The image is too narrow." in caplog.text


@pytest.mark.parametrize(
    ("ids", "own"),
    [
        (["a", "a-2", "a"], ["a", "a-2", "a-3"]),
        (["a", "a", "a-1"], ["a", "a-1", "a-1-2"]),
        (["a", "b", "a"], ["a", "b", "a-2"]),
    ],
)
def test_every_row_gets_an_id_of_its_own_whatever_ids_there_are(ids: list[str], own: list[str]) -> None:
    assert [each.id for each in with_own_ids([example(name=name) for name in ids])] == own


async def test_a_row_that_repeats_another_is_left_out_however_its_picture_was_saved(make_photo: MakePhoto) -> None:
    small, buffer = make_photo(1).resize((96, 96)), io.BytesIO()
    small.save(buffer, "JPEG", quality=40)

    def row(name: str, image: Image.Image, question: str = "What is there?") -> Example:
        return replace(example("there is a dog"), id=name, question=question, load_images=lambda: (image,))

    first, same = row("r", make_photo(1)), row("same", Image.open(buffer))
    rows, counts = await make(None, [first, same, row("elsewhere", make_photo(2)), row("asked", small, "What is it?")])
    assert counts["row-repeats-another"] == 1
    assert {row["id"].split("#")[0] for row in rows} == {"r", "elsewhere", "asked"}


async def test_a_failing_expert_lets_nothing_pass() -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no memory")

    panel = ExpertPanel([FakeExpert({"dog": 1}, behave=fail)])
    config = PreferenceConfig(output=Path("unused"), source="unused", sampled={"per_row": 0})
    try:
        maker = PairMaker(FakeEngine(), panel, RuleEditor(("What is there?", r) for r in REFERENCES), config)
        rows, counts = await maker.make([example()], first_index=0)
    finally:
        panel.close()
    assert rows == []
    assert counts["not fully examined"] >= 1


async def test_a_row_keeps_all_its_images(tmp_path: Path) -> None:
    both = (Image.new("RGB", (32, 32), "red"), Image.new("RGB", (16, 24), "blue"))
    rows, _ = await make(None, [replace(example(), load_images=lambda: both)])
    vl_genrm._write_shard(tmp_path / "data" / "rows.parquet", rows)
    loaded = read_pairs(str(tmp_path / "data")).rows[0].load()
    assert [image.size for image in loaded.images] == [(32, 32), (16, 24)]


def test_rows_with_one_id_give_pairs_with_ids_of_their_own(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vl_genrm, "open_engine", lambda _: FakeEngine())
    monkeypatch.setattr(vl_genrm, "open_panel", lambda *_, **__: None)
    rows_file.write_text(re.sub(r'"id": "p\d+"', '"id": "same"', rows_file.read_text()))
    values = read_config(PreferenceConfig, None, [f"source={rows_file}", f"output={tmp_path / 'out'}"])
    with RunFolder.open(values.output, values) as folder:
        vl_genrm.run(values, folder)
    pairs = read_pairs(str(values.output / "data")).rows
    assert len({pair.id for pair in pairs}) == len(pairs) > 1


def test_shards_may_be_empty_but_not_all_of_them(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vl_genrm, "open_engine", lambda _: FakeEngine())
    monkeypatch.setattr(vl_genrm, "open_panel", lambda *_, **__: None)
    options = [f"source={rows_file}", "rows_per_shard=10"]

    def run(name: str) -> Path:
        values = read_config(PreferenceConfig, None, [*options, f"output={tmp_path / name}"])
        with RunFolder.open(values.output, values) as folder:
            vl_genrm.run(values, folder)
        return values.output

    for i in range(30):
        (rows_file.parent / f"{i}.png").unlink()
    some = run("some")
    assert json.loads((some / "result.json").read_text())["fates"]["row-unusable"] == 30
    assert {pair.id.split("#")[0] for pair in read_pairs(str(some / "data")).rows} <= {f"p{i}" for i in range(30, 40)}
    for i in range(30, 40):
        (rows_file.parent / f"{i}.png").unlink()
    with pytest.raises(NoPairsError, match=r"of 40 rows \(row-unusable: 40\)"):
        run("none")


def test_a_full_disk_under_a_shard_is_named_and_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_: Dataset, path: str) -> None:
        Path(path).write_bytes(b"torn")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Dataset, "to_parquet", fill)
    with pytest.raises(DiskFullError, match=r"rows\.parquet"):
        vl_genrm._write_shard(tmp_path / "rows.parquet", [])
    assert list(tmp_path.iterdir()) == []


async def test_pairs_per_row_are_capped() -> None:
    rows, counts = await make({"dog": 1}, [example()], pairs_per_row=1)
    assert len(rows) == 1
    assert counts["over the cap of pairs per row"] >= 1


def test_a_killed_run_goes_on_and_writes_the_same_parquet_and_card(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vl_genrm, "open_engine", lambda _: FakeEngine())
    monkeypatch.setattr(vl_genrm, "open_panel", lambda *_, **__: None)
    write: Callable[..., None] = vl_genrm._write_shard

    def run(name: str, *, dies_after: int = 99) -> Path:
        written = 0

        def counted(*arguments: Any) -> None:
            nonlocal written
            written += 1
            if written > dies_after:
                raise KeyboardInterrupt
            write(*arguments)

        monkeypatch.setattr(vl_genrm, "_write_shard", counted)
        values = read_config(
            PreferenceConfig, None, [f"source={rows_file}", f"output={tmp_path / name}", "rows_per_shard=10"]
        )
        with RunFolder.open(values.output, values) as folder:
            vl_genrm.run(values, folder)
        return values.output

    lines = rows_file.read_text().splitlines()
    rows_file.write_text("\n".join([*lines, lines[0].replace('"p0"', '"again"')]))  # a repetition, shards later
    whole = run("whole")
    assert json.loads((whole / "result.json").read_text())["fates"]["row-repeats-another"] == 1
    with pytest.raises(KeyboardInterrupt):
        run("killed", dies_after=2)
    resumed = run("killed")
    assert (resumed / "README.md").read_text() == (whole / "README.md").read_text()
    one, other = (read_pairs(str(folder / "data")).rows for folder in (whole, resumed))
    assert [pair.record for pair in one] == [pair.record for pair in other]
    assert one[0].load().images[0].size == (56, 56)
    assert {pair.label for pair in one} == {"A"}
