"""Log lines: one format for everything that logs, for people or for collectors."""

import json
import logging

import pytest

from service.logs import configure_logs
from service.settings import load_settings


def test_json_lines_hold_the_values_of_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(log_format="json"))
    logging.getLogger("service.request_log").info("request", extra={"status": 200, "route": "/v1/judge"})
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["status"], line["route"], line["level"]) == ("request", 200, "/v1/judge", "info")
    assert line["timestamp"].endswith("Z")


def test_plain_lines_are_readable_and_without_colours_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings())
    logging.getLogger("genrm.engines").info("Loaded %s.", "judge", extra={"device": "cpu"})
    line = capsys.readouterr().err
    assert "Loaded judge." in line
    assert "device=cpu" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_an_error_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logs(load_settings(log_format=log_format))
    try:
        raise ZeroDivisionError("a detail")
    except ZeroDivisionError:
        logging.getLogger("service").exception("It failed.")
    assert "ZeroDivisionError: a detail" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("level", "expected"), [("debug", ["d", "i", "w"]), ("info", ["i", "w"]), ("warning", ["w"]), ("error", [])]
)
def test_the_level_setting_holds_for_our_own_packages(
    capsys: pytest.CaptureFixture[str], level: str, expected: list[str]
) -> None:
    configure_logs(load_settings(log_format="json", log_level=level))
    logger = logging.getLogger("service.anything")
    logger.debug("d")
    logger.info("i")
    logger.warning("w")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == expected


def test_libraries_are_heard_only_when_they_warn(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(log_format="json", log_level="debug"))
    logging.getLogger("httpx").info("chatter")
    logging.getLogger("httpx").warning("careful")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["careful"]
