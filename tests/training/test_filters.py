"""What experts let pass."""

from typing import Any

import pytest

from genrm.types import Evidence, EvidencePair
from training.preferences.filters import check_pair


def claim(
    phrase: str,
    finding: Any,
    *,
    polarity: Any = "affirmed",
    count: int | None = None,
    place: str | None = None,
    kind: Any = "object",
) -> Evidence:
    probability = None if finding == "unchecked" else 0.9
    return Evidence(
        kind=kind, phrase=phrase, mention=phrase, polarity=polarity, count=count, place=place, finding=finding,
        probability=probability, detections=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "rejected", "outcome"),
    [
        ([claim("dog", "supported")], [claim("cat", "unsupported")], "error-seen"),
        ([claim("dog", "supported", count=2)], [claim("dog", "contradicted", count=3)], "error-seen"),
        ([claim("dog", "supported", place="left")], [claim("dog", "contradicted", place="right")], "error-seen"),
        ([claim("dog", "supported")], [claim("cat", "supported")], "error-is-in-image"),
        ([claim("dog", "unsupported")], [claim("cat", "unsupported")], "chosen-not-borne-out"),
        ([claim("dog", "supported")], [claim("dog", "supported")], "not-checkable"),
        ([claim("dog", "unchecked")], [claim("cat", "unchecked")], "not-checkable"),
        ([], [], "not-checkable"),
        ([claim("dog", "supported")], [claim("dog", "unsupported", kind="statement")], "error-seen"),
        ([claim("cat", "supported", polarity="denied")], [claim("cat", "unsupported")], "error-seen"),
    ],
)
def test_a_pair_meets_its_fate(chosen: list[Evidence], rejected: list[Evidence], outcome: str) -> None:
    assert check_pair(EvidencePair(A=tuple(chosen), B=tuple(rejected))) == outcome
