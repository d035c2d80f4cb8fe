"""The scale from surprise to probability, as it lies beside a model."""

from pathlib import Path

import pytest

from experts.statement_scale import STATEMENTS_FILE, StatementScale, read_scale
from genrm.errors import ModelLoadError
from genrm.shipped import policy_folder


def test_more_surprise_is_less_probable_and_no_surprise_overflows() -> None:
    scale = StatementScale(intercept=3.0, slope=1.5)
    assert scale.probability(2.0) == 0.5
    values = [scale.probability(surprise) for surprise in (-10.0, 0.0, 2.0, 9.0, 1e6)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0.0


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    scale = StatementScale(intercept=3.25, slope=1.5, num_statements=7)
    assert scale.save(tmp_path).name == STATEMENTS_FILE
    assert read_scale(str(tmp_path)) == scale


def test_a_folder_that_does_not_say_and_a_hub_id_have_no_scale(tmp_path: Path) -> None:
    assert read_scale(str(tmp_path)) is None
    assert read_scale("Qwen/Qwen2.5-VL-7B-Instruct") is None


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"slope": 0}', '{"slope": -1, "intercept": 2}', '{"intercept": NaN}', '{"other": 1}']
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / STATEMENTS_FILE).write_text(content)
    with pytest.raises(ModelLoadError, match=r"statements\.json must hold"):
        read_scale(str(tmp_path))


def test_the_shipped_policy_was_measured() -> None:
    scale = read_scale(str(policy_folder()))
    assert scale is not None
    assert scale.num_statements > 1000
