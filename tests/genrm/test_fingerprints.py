"""Weights are told apart by what they hold."""

from pathlib import Path

from genrm.fingerprints import fingerprint_weights


def test_weights_of_the_same_size_are_told_apart(tmp_path: Path) -> None:
    prints = set()
    for name, content in (("one", b"a" * 100), ("two", b"a" * 99 + b"b"), ("same", b"a" * 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
        prints.add(fingerprint_weights(tmp_path / name))
    assert len(prints) == 2
    assert fingerprint_weights(tmp_path / "absent") == ""
