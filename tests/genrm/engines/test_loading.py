"""Where a model runs and why, and loading it with an adapter; whatever is wrong is said with file and remedy."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from genrm.engines import loading
from genrm.engines.loading import Placement, choose_placement, load_model
from genrm.errors import ModelLoadError
from genrm.fingerprints import fingerprint_weights

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a CUDA device")


@pytest.fixture
def cpu() -> Placement:
    return choose_placement(device="cpu", dtype="float32", attention="sdpa")


@pytest.fixture
def folder(random_folder: Path, tmp_path: Path) -> Path:
    """A copy of a whole model folder, to be damaged."""
    return Path(shutil.copytree(random_folder, tmp_path / "judge"))


@pytest.fixture
def make_adapter(random_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Saves a LoRA adapter with random weights for some of the random model's layers."""

    def make(target: str = "q_proj") -> Path:
        torch.manual_seed(1)
        model = AutoModelForImageTextToText.from_pretrained(random_folder)
        lora = LoraConfig(r=4, target_modules=rf".*language_model.*\.{target}", init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT lags behind transformers
            get_peft_model(model, lora).save_pretrained(str(tmp_path / "adapter"))
        return tmp_path / "adapter"

    return make


@needs_no_gpu
def test_without_a_gpu_the_choice_is_float32_on_the_cpu_with_reasons() -> None:
    placement = choose_placement(device="auto", dtype="auto", attention="sdpa")
    assert (placement.device.type, placement.dtype) == ("cpu", torch.float32)
    assert "no CUDA device is visible" in placement.reason
    assert "float32 (the exact choice on cpu)" in placement.reason


def test_with_a_gpu_that_computes_in_bfloat16_that_is_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    placement = choose_placement(device="auto", dtype="auto", attention="sdpa")
    assert (placement.device.type, placement.dtype) == ("cuda", torch.bfloat16)
    assert "found a GPU" in placement.reason


def test_with_an_older_gpu_the_choice_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    placement = choose_placement(device="auto", dtype="auto", attention="sdpa")
    assert placement.dtype == torch.float32
    assert "the GPU has no bfloat16" in placement.reason


def test_what_is_asked_for_is_done_and_said() -> None:
    placement = choose_placement(device="cpu", dtype="bfloat16", attention="eager")
    assert (placement.dtype, placement.attention) == (torch.bfloat16, "eager")
    assert placement.reason.count("as asked for") == 2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"device": "tpu9"}, "Device 'tpu9' is not known. Choose auto, cpu"),
        ({"dtype": "int8"}, "Dtype 'int8' is not known. Choose auto, float32, bfloat16, float16"),
        ({"attention": "flash"}, "Attention 'flash' is not known; the engine runs sdpa or eager"),
        pytest.param({"device": "cuda"}, "sees 0 CUDA devices. Choose auto or cpu", marks=needs_no_gpu),
        pytest.param({"device": "cuda:3"}, "sees 0 CUDA devices", marks=needs_no_gpu),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_what_can(wanted: dict[str, str], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        choose_placement(**({"device": "cpu", "dtype": "auto", "attention": "sdpa"} | wanted))


@pytest.mark.parametrize(
    ("content", "quota"), [("max 100000\n", None), ("150000 100000\n", 1), ("20000 100000\n", 1), ("400000 100000", 4)]
)
def test_a_container_s_cpu_quota_is_read_in_whole_cpus(tmp_path: Path, content: str, quota: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert loading._read_cpu_quota(tmp_path / "cpu.max") == quota


def test_no_quota_file_means_no_quota(tmp_path: Path) -> None:
    assert loading._read_cpu_quota(tmp_path / "cpu.max") is None


def test_threads_stay_within_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    monkeypatch.setattr(loading, "_read_cpu_quota", lambda: 3)
    placement = choose_placement(device="cpu", dtype="auto", attention="sdpa")
    assert placement.num_threads == 3
    assert "CPU threads 3 (the container's CPU quota, of 16 cores)" in placement.reason
    monkeypatch.setattr(loading, "_read_cpu_quota", lambda: None)
    assert choose_placement(device="cpu", dtype="auto", attention="sdpa").num_threads == 16


def test_a_user_s_own_number_of_threads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(loading, "_read_cpu_quota", lambda: 3)
    assert choose_placement(device="cpu", dtype="auto", attention="sdpa").num_threads == 7


def test_a_loaded_model_is_ready_to_run_and_the_choice_is_logged_once(
    random_folder: Path, cpu: Placement, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="genrm"):
        loaded = load_model(str(random_folder), placement=cpu)
    tokenizer = loaded.processor.tokenizer
    assert loaded.stop_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert not any(parameter.requires_grad for parameter in loaded.model.lm_head.parameters())
    ours = [record.message for record in caplog.records if record.name.startswith("genrm")]
    assert ours == [f"Loaded {random_folder}: {cpu.reason}"]


def test_all_ends_that_the_model_is_configured_for_stop_a_text(folder: Path, cpu: Placement) -> None:
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [0, 5]}))
    assert load_model(str(folder), placement=cpu).stop_ids == {0, 2, 5}


def test_an_adapter_s_changes_are_added_to_the_weights(
    random_folder: Path, make_adapter: Callable[..., Path], cpu: Placement
) -> None:
    """LoRA adds (alpha / r) · B · A to a weight."""
    adapter = make_adapter()
    plain = load_model(str(random_folder), placement=cpu).model
    merged = load_model(str(random_folder), adapter=str(adapter), placement=cpu).model
    key = "base_model.model.model.language_model.layers.1.self_attn.q_proj.lora_{}.weight"
    factors = load_file(adapter / "adapter_model.safetensors")
    change = 8 / 4 * factors[key.format("B")] @ factors[key.format("A")]
    name = "layers.1.self_attn.q_proj.weight"
    difference = merged.model.language_model.get_parameter(name) - plain.model.language_model.get_parameter(name)
    torch.testing.assert_close(difference, change, atol=1e-5, rtol=1e-4)


def test_a_model_without_all_of_its_weights_is_refused(folder: Path, cpu: Placement) -> None:
    weights = load_file(folder / "model.safetensors")
    [name] = [name for name in weights if name.endswith("layers.1.mlp.up_proj.weight")]
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=r"lack 1 of the model's tensors, .*layers\.1\.mlp\.up_proj\.weight"):
        load_model(str(folder), placement=cpu)


def test_weights_of_another_shape_are_refused(folder: Path, cpu: Placement) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"]["intermediate_size"] = 128
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelLoadError, match=r"Check that the folder is complete and fits its config\.json"):
        load_model(str(folder), placement=cpu)


def test_a_model_without_a_chat_template_is_refused(folder: Path, cpu: Placement) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelLoadError, match=r"no chat template \(chat_template.jinja\)"):
        load_model(str(folder), placement=cpu)


def test_a_model_with_sliding_windows_is_refused(folder: Path, cpu: Placement) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"] |= {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
    settings["text_config"]["layer_types"] = ["full_attention", "sliding_attention"]
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelLoadError, match="sliding-window attention"):
        load_model(str(folder), placement=cpu)


def test_an_adapter_of_another_model_is_refused(
    random_folder: Path, make_adapter: Callable[..., Path], cpu: Placement
) -> None:
    adapter = make_adapter()
    factors = load_file(adapter / "adapter_model.safetensors")
    renamed = {name.replace("layers.1.", "layers.7."): tensor for name, tensor in factors.items()}
    save_file(renamed, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=f"{adapter} as an adapter of .* cannot be loaded"):
        load_model(str(random_folder), adapter=str(adapter), placement=cpu)


def test_an_adapter_that_names_another_base_is_refused_with_both_names(
    random_folder: Path, make_adapter: Callable[..., Path], cpu: Placement, tmp_path: Path
) -> None:
    adapter = make_adapter()
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "someone/Other-VL-7B"
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelLoadError, match=f"trained on someone/Other-VL-7B, not on {random_folder}"):
        load_model(str(random_folder), adapter=str(adapter), placement=cpu)
    base = shutil.copytree(random_folder, tmp_path / "other-vl-7b")  # the same name in another place
    load_model(str(base), adapter=str(adapter), placement=cpu)


@pytest.fixture
def two_results(random_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Models that two trainings left, each called `model`, of other weights."""
    one, other = (shutil.copytree(random_folder, tmp_path / run / "model") for run in ("one", "other"))
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    return one, other


def test_an_adapter_for_the_result_of_another_training_is_refused_although_both_are_called_model(
    two_results: tuple[Path, Path], make_adapter: Callable[..., Path], cpu: Placement, tmp_path: Path
) -> None:
    one, other = two_results
    adapter = make_adapter()
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(one)}))
    with pytest.raises(ModelLoadError, match=f"trained on {one}, not on {other}"):
        load_model(str(other), adapter=str(adapter), placement=cpu)
    copy = shutil.copytree(one, tmp_path / "copy" / "model")
    for base in (one, copy):
        load_model(str(base), adapter=str(adapter), placement=cpu)
    one.rename(tmp_path / "moved")  # now nobody can say that it is another one
    load_model(str(other), adapter=str(adapter), placement=cpu)


def test_the_fingerprint_beside_an_adapter_decides_whatever_the_names_are(
    two_results: tuple[Path, Path], make_adapter: Callable[..., Path], cpu: Placement, tmp_path: Path
) -> None:
    one, other = two_results
    adapter = make_adapter()
    record = {"name": str(one), "weights": fingerprint_weights(one)}
    (adapter / "base_model.json").write_text(json.dumps(record))
    with pytest.raises(ModelLoadError, match=rf"not on {other}, whose weights .* remove base_model\.json"):
        load_model(str(other), adapter=str(adapter), placement=cpu)
    load_model(str(one.rename(tmp_path / "renamed")), adapter=str(adapter), placement=cpu)


def test_an_adapter_for_layers_that_are_not_there_is_refused(
    random_folder: Path, make_adapter: Callable[..., Path], cpu: Placement
) -> None:
    adapter = make_adapter()
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["no_such_layer"]}))
    with pytest.raises(ModelLoadError, match="as an adapter of"):
        load_model(str(random_folder), adapter=str(adapter), placement=cpu)


def test_a_hub_id_that_cannot_be_had_is_refused_with_what_to_check(cpu: Placement) -> None:
    with pytest.raises(ModelLoadError, match=r"nobody/no-such-judge cannot be loaded .* HF_HUB_OFFLINE"):
        load_model("nobody/no-such-judge", placement=cpu)


def test_what_a_library_says_is_logged_and_kept_as_the_cause_but_not_repeated(
    folder: Path, cpu: Placement, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "tokenizer.json").write_text('{"version": "none of ours"}')
    with pytest.raises(ModelLoadError) as refusal:
        load_model(str(folder), placement=cpu)
    assert refusal.value.__cause__ is not None
    assert str(refusal.value.__cause__) not in str(refusal.value)
    assert f"Loading {folder} failed" in caplog.text
