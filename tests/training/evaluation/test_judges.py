"""Judges of both kinds give the same verdicts; a busy service is asked again; contradictions are refused."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from genrm.calibration import Scale, write_calibration
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, InvalidComparisonError
from genrm.fingerprints import fingerprint_weights
from genrm.judge import JudgeOptions
from genrm.types import Comparison
from service.app import create_app
from service.settings import load_settings
from training.evaluation.judges import JudgeChoice, LocalJudge, RemoteJudge, open_judge

PAIR = Comparison(
    images=(Image.new("RGB", (24, 24), "teal"),), question="What is it?", response_a="A dog.", response_b="A cat."
)
OPTIONS = JudgeOptions(experts="off")


class Scripted(httpx.AsyncBaseTransport):
    """Answers as told, one after the other, the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.requests = list(answers), list[dict[str, Any]]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The next answer."""
        self.requests.append(json.loads(await request.aread() or b"null"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def refusal(status: int, param: str | None, message: str = "No.") -> httpx.Response:
    return httpx.Response(status, json={"error": {"type": "x", "message": message, "param": param, "code": "x"}})


async def test_a_service_and_the_same_engine_here_give_the_same_verdict() -> None:
    app = create_app(load_settings(), lambda *_: FakeEngine(), lambda *_: None)
    remote, local = RemoteJudge("http://service", transport=httpx.ASGITransport(app)), LocalJudge(FakeEngine())
    async with app.router.lifespan_context(app):
        await app.state.lifecycle.wait_until_loaded()
        await remote.start()
        there = await remote.judge(PAIR, OPTIONS)
        assert remote.describe() == {"service": "vl-genrm", "model": "fake"}
        await remote.close()
    await local.start()
    here = await local.judge(PAIR, OPTIONS)
    assert there.model_dump(exclude={"timings_ms"}) == here.model_dump(exclude={"timings_ms"})


async def test_a_busy_or_absent_service_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    models = httpx.Response(200, json={"data": [{"id": "judge"}]})
    judge = RemoteJudge(
        "http://service",
        transport=Scripted(
            httpx.ConnectError("away"), httpx.Response(503, headers={"Retry-After": "7"}), httpx.Response(429), models
        ),
    )
    await judge.start()
    assert waits == [1.0, 7.0, 4.0]
    assert judge.describe()["model"] == "judge"


async def test_a_service_that_stays_away_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    judge = RemoteJudge("http://service", transport=Scripted(httpx.ConnectError("away")))
    with pytest.raises(EngineError, match=r"cannot be reached .* asked 14 times over 271 s"):
        await judge.start()
    assert waits == [1, 2, 4, 8, 16] + 8 * [30]


@pytest.mark.parametrize(("seconds", "waited"), [("1", 1.0), ("0", 0.1)])
async def test_a_service_that_names_short_waits_is_not_given_up_sooner(
    monkeypatch: pytest.MonkeyPatch, seconds: str, waited: float
) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    busy = [httpx.Response(409, headers={"Retry-After": seconds})] * 60
    judge = RemoteJudge("http://service", transport=Scripted(*busy, httpx.Response(200, json={"data": [{"id": "j"}]})))
    await judge.start()
    assert waits == [waited] * 60


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(413, "image"), InvalidComparisonError),
        (refusal(422, "response_a"), InvalidComparisonError),
        (refusal(422, "experts"), EngineError),
        (refusal(404, "model"), EngineError),
        (httpx.Response(401, text="who?"), EngineError),
        (httpx.Response(500, json=["?"]), EngineError),
    ],
)
async def test_a_refused_row_is_told_from_a_refused_run(answer: httpx.Response, error: type[Exception]) -> None:
    judge = RemoteJudge("http://service", transport=Scripted(answer))
    with pytest.raises(error):
        await judge.judge(PAIR, OPTIONS)


async def test_a_service_that_wants_a_key_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"data": [{"id": "j"}]})

    for key in (None, "secret-of-alice\n"):
        judge = RemoteJudge("http://service", api_key=key, transport=httpx.MockTransport(answer))
        await judge.start()
        await judge.close()
    assert [request.headers.get("Authorization") for request in asked] == [None, "Bearer secret-of-alice"]
    monkeypatch.setenv("GENRM_API_KEY", "schlüssel")
    with pytest.raises(EngineError, match="GENRM_API_KEY has characters"):
        open_judge(JudgeChoice(url="http://service"))


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="--model, --adapter has no effect on a running service"):
        JudgeChoice(url="http://service", model="m", adapter="a")
    with pytest.raises(ValueError, match="--adapter has no effect on a model server"):
        JudgeChoice(engine_url="http://server", adapter="a")
    with pytest.raises(ValueError, match="--statements has no effect with --experts off"):
        JudgeChoice(statements="shipped")
    with pytest.raises(ValueError, match="--statements has no effect on a running service"):
        JudgeChoice(url="http://service", statements="shipped", with_experts=True)
    with pytest.raises(EngineError, match="http://127"):
        open_judge(JudgeChoice(url="service:80"))


def test_a_local_judge_uses_the_calibration_beside_its_weights_unless_told_not_to(tmp_path: Path) -> None:
    write_calibration(tmp_path, {"critique": 2.5}, notes={})
    judge = open_judge(JudgeChoice(model=str(tmp_path)))
    assert judge.describe()["calibration"] == {"critique": 2.5}
    assert open_judge(JudgeChoice(model=str(tmp_path), use_calibration=False)).describe()["calibration"] == {}


def test_a_judge_tells_of_its_experts_weights_and_of_its_combined_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.judges._load_panel", lambda choice: None)
    for name in ("judge", "expert", "checker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    told = []
    choice = JudgeChoice(model=str(tmp_path / "judge"), expert=str(tmp_path / "expert"), with_experts=True)
    choice = replace(choice, statements=str(tmp_path / "checker"))
    for weight in (0.5, 0.25):
        write_calibration(tmp_path / "judge", {}, {"fast": Scale(evidence_weight=weight)}, notes={})
        told.append(open_judge(choice).describe())
    for name in ("expert", "checker"):
        (tmp_path / name / "model.safetensors").write_bytes(b"trained")
        told.append(open_judge(choice).describe())
    assert told[0]["combined"] == {"fast": {"temperature": 1.0, "evidence_weight": 0.5}}
    assert len({json.dumps(each) for each in told}) == 4
    served = JudgeChoice(engine_url="http://server", model="m", expert=choice.expert, with_experts=True)
    assert open_judge(served).describe()["weights"] == [fingerprint_weights(tmp_path / "expert")]
    assert "combined" not in open_judge(served).describe()
