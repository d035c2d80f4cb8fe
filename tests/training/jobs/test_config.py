"""Settings of a job: what a file and overrides mean, and how mistakes are answered."""

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from training.jobs.config import ConfigError, JobConfig, Section, dump_config, read_config


class Lora(Section):
    """A section."""

    rank: int = Field(8, ge=1)
    targets: tuple[str, ...] = ("q_proj",)


class Config(JobConfig):
    """Settings of every kind."""

    lora: Lora | None = Lora()
    experts: Literal["off", "prompt"] = "prompt"
    learning_rate: float = 1e-4
    note: str = ""
    extra: dict[str, Lora] = Field({})


def read(tmp_path: Path, text: str, *overrides: str) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return read_config(Config, file, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value)


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, "output: out\nlora: {rank: 4}\n", "lora.rank=16", "lora.targets=[a, b]", "lora.rank=32")
    assert config == Config(output=Path("out"), lora=Lora(rank=32, targets=("a", "b")))


def test_without_a_file_the_defaults_hold() -> None:
    assert read_config(Config, None, ["output=out", "seed=3"]) == Config(output=Path("out"), seed=3)


def test_an_override_may_open_a_section_that_the_file_closes(tmp_path: Path) -> None:
    assert read(tmp_path, "output: out\nlora: null\n", "lora.rank=2").lora == Lora(rank=2)


def test_an_override_leaves_the_other_end_of_an_anchor_alone(tmp_path: Path) -> None:
    config = read(tmp_path, "output: o\nextra:\n  a: &x {rank: 2}\n  b: *x\n", "extra.a.rank=9")
    assert config.extra == {"a": Lora(rank=9), "b": Lora(rank=2)}


def test_words_and_numbers_mean_what_they_look_like(tmp_path: Path) -> None:
    config = read(tmp_path, "output: out\nexperts: off\nlearning_rate: 1e-5\nnote: 2026-01-31\n")
    assert (config.experts, config.learning_rate, config.note) == ("off", 1e-5, "2026-01-31")


@pytest.mark.parametrize("note", ["1e-4", "off", "null", "", "010", "true", "<<", "a: b", "ü\n'\""])
def test_a_text_that_looks_like_something_else_survives(note: str, tmp_path: Path) -> None:
    config = Config(output=tmp_path, note=note, experts="off", lora=None, learning_rate=float("inf"))
    assert read(tmp_path, dump_config(config)) == config


@settings(max_examples=40)
@given(note=st.text(), rate=st.floats(allow_nan=False), targets=st.lists(st.text()), seed=st.integers(min_value=0))
def test_a_written_config_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, note: str, rate: float, targets: list[str], seed: int
) -> None:
    config = Config(
        output=Path("out"), seed=seed, note=note, learning_rate=rate, extra={"x": Lora(targets=tuple(targets))}
    )
    assert read(tmp_path_factory.getbasetemp(), dump_config(config)) == config


def test_a_mistyped_key_is_answered_with_the_nearest_at_any_depth(tmp_path: Path) -> None:
    text = refusal(tmp_path, "output: out\nexprets: off\nextra: {one: {rnak: 3}}\n", "lora.target=[a]")
    assert "There is no key 'exprets'; did you mean 'experts'?" in text
    assert "There is no key 'lora.target'; did you mean 'lora.targets'?" in text
    assert "There is no key 'extra.one.rnak'; did you mean 'extra.one.rank'?" in text


def test_a_key_that_resembles_none_is_answered_with_all_there_are(tmp_path: Path) -> None:
    text = refusal(tmp_path, "output: out\nlora: {zzz: 1}\n")
    assert "There is no key 'lora.zzz'; allowed are rank, targets." in text


def test_all_mistakes_are_named_at_once_with_what_was_given_and_allowed(tmp_path: Path) -> None:
    text = refusal(tmp_path, "seed: few\nlora: {rank: 0}\nexperts: maybe\n")
    assert text.startswith(f"{tmp_path / 'config.yaml'} cannot be used. ")
    assert "Key 'output' is missing" in text
    assert "Key 'seed' is 'few': Input should be a valid integer" in text
    assert "Key 'lora.rank' is 0: Input should be greater than or equal to 1" in text
    assert "Key 'experts' is 'maybe': Input should be 'off' or 'prompt'" in text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1", "is not valid YAML: expected ',' or ']'"),
        ("seed: 1\nseed: 2", "key 'seed' twice (line 2, column 1)"),
        ("- 1", "holds [1]; a config is a mapping"),
    ],
)
def test_a_file_that_is_no_config_is_refused_with_the_place(text: str, complaint: str, tmp_path: Path) -> None:
    assert complaint in refusal(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no config file .*nowhere\.yaml"):
        read_config(Config, tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("lora", "write --set key=value"),
        ("=3", "write --set key=value"),
        ("lora.=3", "write --set key=value"),
        ("lora=[1", "the value is not valid YAML"),
        ("note.x=1", "note is 'text', not a section"),
    ],
)
def test_an_override_without_meaning_is_refused(override: str, complaint: str, tmp_path: Path) -> None:
    assert complaint in refusal(tmp_path, "output: out\nnote: text\n", override)
