"""A service whose model has a calibration beside it uses it and says so."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx

from genrm.calibration import write_calibration
from genrm.engines.fake import FakeEngine


class WeightedEngine(FakeEngine):
    """A fake engine whose weights lie in a folder."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.weights = str(weights)


async def test_the_service_uses_and_reports_the_temperature(
    open_app: Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]],
    make_body: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    write_calibration(tmp_path, {"critique": 3.0}, notes={})
    answers = []
    for engine in (FakeEngine(), WeightedEngine(tmp_path)):
        async with open_app(engine) as client:
            answers.append((await client.post("/v1/judge", json=make_body())).json())
    assert [answer["calibration_temperature"] for answer in answers] == [1.0, 3.0]
    assert answers[0]["preferred"] == answers[1]["preferred"]
    assert abs(answers[1]["margin"]) < abs(answers[0]["margin"])
    assert answers[0]["readings"] == answers[1]["readings"]


async def test_a_broken_calibration_keeps_the_service_from_becoming_ready(
    open_app: Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]], tmp_path: Path
) -> None:
    (tmp_path / "calibration.json").write_text("{")
    health = {"status": "loading"}
    async with open_app(WeightedEngine(tmp_path), wait=False) as client:
        for _ in range(100):
            health = (await client.get("/readyz")).json()
            if health["status"] != "loading":
                break
    assert health["status"] == "failed"
    assert "calibration.json is no calibration" in health["detail"]
