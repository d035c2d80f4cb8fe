"""What tells the files of a source from others under the same name."""

import os
from pathlib import Path

from training.fingerprints import fingerprint_source


def test_files_of_a_source_are_told_from_what_was_there_before(tmp_path: Path) -> None:
    rows, folder = tmp_path / "rows.jsonl", tmp_path / "data"
    folder.mkdir()
    (folder / "one.parquet").write_bytes(b"1")
    rows.write_text("{}")
    sources = (str(rows), str(folder), str(folder / "o*.parquet"))
    before = [fingerprint_source(source) for source in sources]
    assert [fingerprint_source(source) for source in sources] == before
    assert "" not in before
    rows.write_text("{ }")
    os.utime(folder / "one.parquet", ns=(0, 0))
    assert not set(before) & {fingerprint_source(source) for source in sources}
    assert fingerprint_source("org/name") == fingerprint_source("pocket:train?n=3") == ""
