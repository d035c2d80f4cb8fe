"""Rows out of files and plug-ins: names of fields, labels, pictures that are read late, rows that are skipped."""

import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import training.tables
from training.sources import RowError, read_examples, read_pairs
from training.tables import SourceError

RESPONSES = ["A dog.", "A cat."]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def png(colour: str = "red", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (20, 16), colour).save(file, "PNG")
    return file.getvalue()


def row(name: str, **fields: object) -> dict[str, Any]:
    return {
        "id": name,
        "query": "What is it?",
        "response": RESPONSES,
        "human_ranking": [1, 0],
        "image": "a.png",
    } | fields


def test_published_field_names_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    source = write_rows(
        tmp_path / "rows.jsonl",
        [
            row("lists"),
            row("texts", response=json.dumps(RESPONSES), human_ranking="[1, 0]"),
            {
                "id": "ours",
                "question": "What is it?",
                "response_a": "A dog.",
                "response_b": "A cat.",
                "label": "B",
                "image": "a.png",
            },
            {"id": "dpo", "question": "What is it?", "chosen": "A cat.", "rejected": "A dog.", "image": "a.png"},
            {
                "id": "chat",
                "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
                "chosen": [{"role": "assistant", "content": "A cat."}],
                "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}],
                "images": ["a.png"],
            },
        ],
    )
    pairs = read_pairs(source).rows
    assert [pair.id for pair in pairs] == ["lists", "texts", "ours", "dpo", "chat"]
    assert {pair.question for pair in pairs} == {"What is it?"}
    assert {pair.better for pair in pairs} == {"A cat."}
    assert all(pair.load().images[0].size == (20, 16) for pair in pairs)


def test_a_row_may_hold_any_line_end_of_unicode_inside_its_texts(tmp_path: Path) -> None:
    question = "One\u2028two\u2029three\x85four\x7f?"
    lines = [json.dumps(row(name, query=question), ensure_ascii=False) for name in ("a", "b")]
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\r\n\r\n".join([*lines, ""]).encode())
    assert [pair.question for pair in read_pairs(str(path)).rows] == [question, question]
    path.write_bytes("\n".join([lines[0], "", "{"]).encode())
    with pytest.raises(SourceError, match="Line 3 of"):
        read_pairs(str(path))


def test_a_row_without_a_label_is_skipped_with_its_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write_rows(
        tmp_path / "rows.jsonl",
        [row("good"), row("unranked", human_ranking=None), row("three", response=["a", "b", "c"]), {"id": "empty"}],
    )
    with caplog.at_level(logging.WARNING):
        found = read_pairs(source)
    assert [pair.id for pair in found.rows] == ["good"]
    assert [skipped.id for skipped in found.skipped] == ["unranked", "three", "empty"]
    assert "human_ranking" in found.skipped[0].reason
    assert "Row unranked was skipped" in caplog.text


def test_pictures_are_read_when_a_row_is_used_and_by_our_own_rules(tmp_path: Path) -> None:
    (tmp_path / "clear.png").write_bytes(png("#00000000", "RGBA"))
    (tmp_path / "broken.png").write_bytes(png()[:40])
    rows = [row(name, image=f"{name}.png") for name in ("clear", "broken", "absent")] + [row("none", image=None)]
    pairs = {pair.id: pair for pair in read_pairs(write_rows(tmp_path / "rows.jsonl", rows)).rows}
    assert pairs["clear"].load().images[0].getpixel((0, 0)) == (255, 255, 255)
    for name, reason in (("broken", "damaged"), ("absent", "cannot be read"), ("none", "no image")):
        with pytest.raises(RowError, match=reason):
            pairs[name].load()


def test_a_preferred_answer_serves_as_reference_and_an_empty_list_is_no_picture(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "What is it?", "chosen": "A cat.", "rejected": "A dog.", "images": []}]
    (example,) = read_examples(write_rows(tmp_path / "rows.jsonl", rows)).rows
    assert example.reference == "A cat."
    with pytest.raises(RowError, match="no image"):
        example.load_images()


def test_pictures_may_lie_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png())
    source = write_rows(tmp_path / "rows.jsonl", [row("one")])
    (pair,) = read_pairs(source, images=tmp_path / "pictures").rows
    assert pair.load().images[0].getpixel((0, 0)) == (255, 0, 0)


def test_parquet_keeps_its_pictures_and_a_limit_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [row(f"row-{number}", image={"bytes": png(), "path": None}, reference="A cat.") for number in range(3)]
    data = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    (tmp_path / "shards").mkdir()
    data.to_parquet(tmp_path / "shards" / "data-0.parquet")
    examples = read_examples(str(tmp_path / "shards"), limit=2).rows
    assert [(example.id, example.reference) for example in examples] == [("row-0", "A cat."), ("row-1", "A cat.")]
    assert examples[1].load_images()[0].getpixel((0, 0)) == (255, 0, 0)
    assert "image" not in examples[0].record


def test_a_plug_in_opens_what_follows_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "made"

        def load(self) -> Any:
            return lambda argument: [row(argument, image=lambda: Image.new("RGB", (9, 9)))]

    monkeypatch.setattr(training.tables, "entry_points", lambda group: [Point()] if group == "vl_genrm.sources" else [])
    (pair,) = read_pairs("made:up?n=1").rows
    assert (pair.id, pair.load().images[0].size) == ("up?n=1", (9, 9))
    with pytest.raises(SourceError, match="made:…"):
        read_pairs("unmade:up")


@pytest.mark.parametrize("source", ["absent.jsonl", "no such thing", "hub:", "https://host/rows.jsonl"])
def test_what_is_no_source_is_refused_with_what_is_one(source: str) -> None:
    with pytest.raises(SourceError, match=r"org/name@split"):
        read_pairs(source)


def test_a_data_set_that_the_hub_does_not_give_is_named() -> None:
    with pytest.raises(SourceError, match="nobody/nothing cannot be had from the hub"):
        read_pairs("hub:nobody/nothing@test")


def test_a_source_without_a_usable_row_says_why(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"2 were skipped; the first one because: it has no question"):
        read_pairs(write_rows(tmp_path / "rows.jsonl", [{"id": "a"}, {"id": "b"}]))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row("one")) + "\n{oops\n")
    with pytest.raises(SourceError, match="Line 2 of"):
        read_pairs(str(tmp_path / "rows.jsonl"))


def test_files_of_a_folder_that_hold_no_row_are_passed_over(tmp_path: Path) -> None:
    from training.preference_rows import encode_images, make_preference_row, write_preference_rows

    row = make_preference_row(
        images=encode_images([Image.new("RGB", (4, 4))]), question="What?", chosen="This.", rejected="That.", id="one"
    )
    for name, rows in (("a", []), ("b", [row]), ("c", [])):
        write_preference_rows(tmp_path / f"{name}.parquet", rows, texts=("id",))
    assert [pair.id for pair in read_pairs(str(tmp_path)).rows] == ["one"]
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(SourceError, match="holds no row: its 2 files"):
        read_pairs(str(tmp_path))


def test_a_pattern_means_the_files_that_fit_it(tmp_path: Path) -> None:
    from training.preference_rows import encode_images, make_preference_row, write_preference_rows

    images = encode_images([Image.new("RGB", (4, 4))])
    for name in ("rows-1-0", "rows-2-0", "rows-3-0"):
        row = make_preference_row(images=images, question="What?", chosen="This.", rejected="That.", id=name)
        write_preference_rows(tmp_path / f"{name}.parquet", [row], texts=("id",))
    assert [pair.id for pair in read_pairs(str(tmp_path / "rows-[12]-*.parquet")).rows] == ["rows-1-0", "rows-2-0"]
    with pytest.raises(SourceError, match="is no source"):
        read_pairs(str(tmp_path / "rows-4-*.parquet"))
