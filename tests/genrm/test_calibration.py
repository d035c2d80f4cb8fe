"""Temperatures: read, written, applied, and never in the way of symmetry."""

import json
import logging
import math
from pathlib import Path

import pytest
from PIL import Image

from genrm.calibration import UNCALIBRATED, Calibration, find_calibration, read_calibration, write_calibration
from genrm.engines.fake import FakeEngine
from genrm.errors import ModelLoadError
from genrm.fingerprints import fingerprint_weights
from genrm.judge import Judge, JudgeOptions
from genrm.types import Comparison, Verdict

PAIR = Comparison(
    images=(Image.new("RGB", (8, 8), "teal"),), question="What is it?", response_a="A dog.", response_b="A cat."
)


def log_odds(verdict: Verdict) -> float:
    assert verdict.probabilities is not None
    return math.log(verdict.probabilities.A) - math.log(verdict.probabilities.B)


async def test_log_odds_are_divided_by_the_temperature_of_the_mode() -> None:
    raw = await Judge(FakeEngine()).judge(PAIR)
    calibrated = Judge(FakeEngine(), calibration=Calibration({"critique": 2.5}))
    verdict, fast = await calibrated.judge(PAIR), await calibrated.judge(PAIR, JudgeOptions(mode="fast"))
    assert log_odds(verdict) == pytest.approx(log_odds(raw) / 2.5)
    assert (verdict.calibration_temperature, fast.calibration_temperature) == (2.5, 1.0)
    assert verdict.preferred == raw.preferred
    assert verdict.readings == raw.readings


async def test_a_calibrated_swapped_pair_gives_an_exactly_mirrored_verdict() -> None:
    judge = Judge(FakeEngine(position_bias=0.7), calibration=Calibration({"critique": 0.37}))
    one, other = await judge.judge(PAIR), await judge.judge(PAIR.swap())
    assert one.probabilities is not None
    assert other.probabilities is not None
    assert (one.probabilities.A, one.probabilities.B) == (other.probabilities.B, other.probabilities.A)
    assert one.margin == -(other.margin or 0)


def test_temperatures_of_other_modes_are_kept(tmp_path: Path) -> None:
    write_calibration(tmp_path, {"critique": 2.0}, notes={})
    write_calibration(tmp_path, {"fast": 0.5}, notes={"source": "x"})
    assert read_calibration(tmp_path) == Calibration({"critique": 2.0, "fast": 0.5})


def test_a_folder_without_the_file_and_a_hub_id_are_uncalibrated(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) == read_calibration("owner/name") == UNCALIBRATED
    assert UNCALIBRATED.scale("critique").temperature == 1.0


def test_an_engine_with_weights_has_the_calibration_beside_them(tmp_path: Path) -> None:
    class Weighted(FakeEngine):
        weights = str(tmp_path)

    write_calibration(tmp_path, {"critique": 2.0}, notes={})
    assert find_calibration(Weighted()).scale("critique").temperature == 2.0
    assert find_calibration(FakeEngine()) == UNCALIBRATED


def test_a_calibration_for_another_prompt_is_left_aside_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_calibration(tmp_path, {"critique": 2.0}, notes={})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompt_version": "old"}))
    with caplog.at_level(logging.WARNING):
        assert read_calibration(tmp_path) == UNCALIBRATED
    assert "fitted for prompt version old" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"temperatures": {"critique": 1}}',
        '{"temperatures": {"critique": 0}, "prompt_version": "x"}',
        '{"temperatures": {"slow": 1}, "prompt_version": "x"}',
        '{"temperatures": {"fast": "NaN"}, "prompt_version": "x"}',
    ],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"calibration\.json is no calibration"):
        read_calibration(tmp_path)


def test_a_calibration_of_other_weights_is_left_aside_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"one")
    write_calibration(tmp_path, {"critique": 2.0}, weights=fingerprint_weights(tmp_path), notes={})
    assert read_calibration(tmp_path).scale("critique").temperature == 2.0
    weights.write_bytes(b"two")
    with caplog.at_level(logging.WARNING):
        assert read_calibration(tmp_path) == UNCALIBRATED
    assert "was fitted for weights with the fingerprint" in caplog.text
    assert "run vl-genrm calibrate again" in caplog.text


def test_a_calibration_that_names_no_weights_holds_for_any(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    write_calibration(tmp_path, {"critique": 2.0}, notes={})
    assert read_calibration(tmp_path).scale("critique").temperature == 2.0


def test_temperatures_of_other_weights_are_not_kept(tmp_path: Path) -> None:
    write_calibration(tmp_path, {"critique": 2.0}, weights="one", notes={})
    write_calibration(tmp_path, {"fast": 0.5}, weights="two", notes={})
    assert read_calibration(tmp_path) == Calibration({"fast": 0.5})


def test_a_torn_file_is_replaced_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "calibration.json").write_text('{"prompt_ver')
    with caplog.at_level(logging.WARNING):
        write_calibration(tmp_path, {"critique": 2.0}, notes={})
    assert "A broken file is replaced" in caplog.text
    assert read_calibration(tmp_path) == Calibration({"critique": 2.0})


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_calibration(tmp_path, {"critique": 2.0}, notes={})

    def fail(number: int) -> None:
        raise OSError(number)

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError):  # noqa: PT011 - the number is that of a file
        write_calibration(tmp_path, {"critique": 3.0}, notes={})
    assert read_calibration(tmp_path) == Calibration({"critique": 2.0})
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
