"""A folder that cannot be loaded is refused with the file and the remedy, before anything is loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from genrm.engines.model_files import check_adapter_folder, check_model_folder, find_folder
from genrm.errors import ModelLoadError


@pytest.fixture
def folder(random_folder: Path, tmp_path: Path) -> Path:
    """A copy of a whole model folder, to be damaged."""
    return Path(shutil.copytree(random_folder, tmp_path / "judge"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_whole_folder_is_accepted(folder: Path) -> None:
    check_model_folder(folder)


@pytest.mark.parametrize(
    ("damage", "named", "remedy"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing", "again"),
        (lambda folder: truncate(folder / "config.json"), "config.json cannot be read as JSON", "again"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json does not hold a JSON object", "again"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing", "again"),
        (
            lambda folder: truncate(folder / "model.safetensors"),
            "model.safetensors .* is truncated or damaged",
            "again",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), r"\(0 bytes\) is truncated", "again"),
        (
            lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "a mere pointer to the real file",
            "again",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"lacks the tokenizer \(tokenizer.json or", "again"),
        (lambda folder: (folder / "processor_config.json").unlink(), "lacks the image processor's settings", "again"),
        (lambda folder: edit_json(folder / "config.json", model_type="bert"), "model_type 'bert'", "qwen2_vl"),
        (lambda folder: edit_json(folder / "config.json", model_type=None), "model_type None", "OpenAI-compatible"),
    ],
)
def test_a_damaged_folder_is_refused_with_file_and_remedy(
    folder: Path, damage: Callable[[Path], object], named: str, remedy: str
) -> None:
    damage(folder)
    with pytest.raises(ModelLoadError, match=named) as refusal:
        check_model_folder(folder)
    assert remedy in str(refusal.value)
    assert str(folder) in str(refusal.value)


def test_every_shard_of_an_index_must_be_there_and_whole(folder: Path) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    (folder / "model.safetensors").rename(shard)
    index = {"weight_map": {"a": shard.name, "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match=r"model-00002-of-00002.safetensors is missing"):
        check_model_folder(folder)
    shutil.copy(shard, folder / "model-00002-of-00002.safetensors")
    check_model_folder(folder)
    truncate(shard)
    with pytest.raises(ModelLoadError, match=r"model-00001-of-00002.safetensors .* is truncated"):
        check_model_folder(folder)


def test_an_index_without_a_weight_map_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ModelLoadError, match=r"model.safetensors.index.json has no weight_map"):
        check_model_folder(folder)


def test_weights_in_the_older_format_are_left_to_transformers(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    check_model_folder(folder)


def test_an_adapter_folder_needs_its_settings_and_its_weights(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    with pytest.raises(ModelLoadError, match=r"adapter_config.json is missing"):
        check_adapter_folder(adapter)
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match=r"adapter_model.safetensors is missing"):
        check_adapter_folder(adapter)
    shutil.copy(folder / "model.safetensors", adapter / "adapter_model.safetensors")
    check_adapter_folder(adapter)


def test_a_name_that_is_a_folder_is_that_folder(folder: Path) -> None:
    assert find_folder(str(folder)) == folder


def test_an_owner_and_a_name_are_a_hub_id() -> None:
    assert find_folder("Qwen/Qwen2-VL-7B-Instruct") is None


@pytest.mark.parametrize("name", ["/no/such/judge", "./judge", "../judge", "~/no-such-judge", "a/b/judge", "a\\b", ""])
def test_a_path_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(ModelLoadError, match="There is no model folder"):
        find_folder(name)


def test_a_file_in_place_of_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(ModelLoadError, match="is a file; a model is a folder"):
        find_folder(str(folder / "model.safetensors"))
