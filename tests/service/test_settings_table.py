"""The documentation's table of settings: complete, well formed, and put where it belongs."""

from pathlib import Path

import pytest

from genrm.errors import GenRMError
from service.settings import Settings
from service.settings_table import BEGIN, END, insert_table, main, render_settings_table


def test_the_table_has_one_line_per_setting_in_the_order_of_the_code() -> None:
    lines = render_settings_table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [f"GENRM_{name.upper()}" for name in Settings.model_fields]


def test_every_line_of_the_table_has_three_cells() -> None:
    for line in render_settings_table().splitlines():
        assert line.replace("\\|", "").count("|") == 4, line


def test_the_table_shows_defaults() -> None:
    table = render_settings_table()
    assert "| `GENRM_PORT` | `8000` |" in table
    assert "| `GENRM_MAX_TEXT_CHARACTERS` | `20,000` |" in table
    assert "| `GENRM_MODEL` | – |" in table


def test_the_table_is_put_between_the_markers_and_nowhere_else() -> None:
    document = insert_table(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert document == f"before\n{BEGIN}\n{render_settings_table()}\n{END}\nafter\n"
    assert insert_table(document) == document


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_a_document_without_markers_is_refused(document: str) -> None:
    with pytest.raises(GenRMError, match="no settings table"):
        insert_table(document)


def test_the_command_rewrites_the_files_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "settings.md"
    file.write_text(f"{BEGIN}\n{END}\n", "utf-8")
    main([str(file)])
    assert "GENRM_PORT" in file.read_text("utf-8")
