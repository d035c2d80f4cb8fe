"""Settings: where values come from, what is refused, and how it is said."""

import pytest
from pydantic import ValidationError

from genrm.media import ImageLimits
from genrm.verdict import VerdictRules
from service.errors import StartError
from service.settings import Settings, find_misspelt, load_settings


def test_without_environment_the_service_listens_to_this_machine_only() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, None)


def test_the_environment_sets_what_its_prefix_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_PORT", "9001")
    monkeypatch.setenv("GENRM_MODEL", "some/model")
    monkeypatch.setenv("PORT", "1")
    settings = load_settings()
    assert (settings.port, settings.model) == (9001, "some/model")


def test_a_flag_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_PORT", "9001")
    assert load_settings(port=9002).port == 9002


def test_a_flag_that_is_not_given_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_PORT", "9001")
    assert load_settings(port=None).port == 9001


def test_an_empty_variable_is_as_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_MODEL", "")
    assert load_settings().model is None


def test_settings_do_not_change_after_the_start() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc] # the type checker knows it too


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("PORT", "tcp://10.0.0.1:8000"),
        ("DTYPE", "int4"),
        ("TIE_MARGIN", "2"),
        ("MIN_LABEL_MASS", "-0.5"),
        ("MAX_BODY_BYTES", "10"),
        ("LOG_FORMAT", "xml"),
        ("MAX_TOKENS", "0"),
        ("FILE_RETENTION_DAYS", "inf"),
        ("FILE_RETENTION_DAYS", "1e300"),
        ("SHUTDOWN_DELAY_SECONDS", "inf"),
        ("REQUEST_TIMEOUT_SECONDS", "inf"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"GENRM_{name}", value)
    with pytest.raises(StartError, match=f"GENRM_{name} is ") as refusal:
        load_settings()
    assert value in str(refusal.value)


def test_several_wrong_values_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_PORT", "x")
    monkeypatch.setenv("GENRM_DTYPE", "y")
    with pytest.raises(StartError, match=r"GENRM_PORT.*GENRM_DTYPE"):
        load_settings()


def test_an_override_that_is_no_setting_is_refused() -> None:
    with pytest.raises(StartError, match="prot is not a setting"):
        load_settings(prot=1)


def test_a_key_is_shown_by_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRM_ENGINE_API_KEY", "top-secret")
    settings = load_settings()
    assert "top-secret" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.engine_api_key is not None
    assert settings.engine_api_key.get_secret_value() == "top-secret"


def test_a_key_that_is_refused_is_not_repeated_and_a_limit_of_keys_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartError, match="GENRM_API_KEYS is a value that is not shown"):
        load_settings(api_keys=["top-secret"])
    monkeypatch.setenv("GENRM_MAX_CONCURRENT_PER_KEY", "0")
    with pytest.raises(StartError, match="GENRM_MAX_CONCURRENT_PER_KEY is '0'"):
        load_settings()


def test_a_misspelt_variable_is_told_with_the_right_spelling() -> None:
    sentences = find_misspelt(
        {
            "GENRM_MAX_TOKEN": "5",
            "GENRM_MAX_TOKENS": "5",
            "GENRM_SERVICE_HOST": "x",
            "GENRM_SERVICE_PORT": "1",
            "PATH": "y",
        }
    )
    assert sentences == ["GENRM_MAX_TOKEN is not a setting and has no effect; did you mean GENRM_MAX_TOKENS?"]


def test_the_defaults_of_limits_and_rules_are_those_of_the_library() -> None:
    settings = load_settings()
    assert settings.image_limits == ImageLimits()
    assert settings.verdict_rules == VerdictRules()


def test_limits_and_rules_follow_the_settings() -> None:
    settings = load_settings(
        max_image_bytes=1,
        max_image_pixels=2,
        max_images=3,
        min_image_side_pixels=4,
        max_image_aspect_ratio=5,
        tie_margin=0.1,
        min_label_mass=0.2,
    )
    assert settings.image_limits == ImageLimits(
        max_image_bytes=1, max_image_pixels=2, max_images=3, min_image_side_pixels=4, max_image_aspect_ratio=5
    )
    assert settings.verdict_rules == VerdictRules(tie_margin=0.1, min_label_mass=0.2)


def test_a_stop_ends_well_within_the_30_seconds_that_kubernetes_gives() -> None:
    settings = load_settings()
    assert settings.shutdown_delay_seconds + settings.shutdown_timeout_seconds <= 27


def test_every_setting_says_what_it_does() -> None:
    silent = [name for name, field in Settings.model_fields.items() if len(field.description or "") < 20]
    assert silent == []
