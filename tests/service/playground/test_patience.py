"""Audits and rankings of the page that the service, or UTF-8, does not take at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI, Request, Response

from service.error_responses import list_failure_headers, render_error
from service.errors import Failure, RefusalError, describe_failure
from service.playground.audit_tab import AuditTab
from service.playground.calls import Api
from service.playground.rank_tab import RankTab
from service.samples import load_shipped_samples
from service.schemas import JudgeResponse
from service.settings import Settings
from tests.service.playground.test_audit import VERDICT

VISIT = cast("Any", SimpleNamespace(headers={}, cookies={}))
AT_ONCE = describe_failure(RefusalError("too_many_requests_at_once", "One at a time.", retry_after_seconds=1))
TOO_OFTEN = describe_failure(RefusalError("rate_limited", "Too many requests.", retry_after_seconds=1))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_: float) -> None: ...

    monkeypatch.setattr("service.playground.audit_tab.asyncio.sleep", sleep)


async def audit(failure: Failure, *, num_refusals: int) -> tuple[str, str, str]:
    """What is shown at the end of an audit of two samples, by a service that first refuses each so often."""
    refused: dict[bytes, int] = {}
    verdict = JudgeResponse.model_validate(VERDICT).model_dump_json()

    async def judge(request: Request) -> Response:
        body = await request.body()
        refused[body] = refused.get(body, 0) + 1
        if refused[body] > num_refusals:
            return Response(verdict, media_type="application/json")
        return Response(render_error(failure), failure.status, headers=list_failure_headers(failure))

    app = FastAPI()
    app.post("/v1/judge")(judge)
    tab = AuditTab(Api(app), Settings(), load_shipped_samples()[:2])
    return [shown async for shown in tab.run(None, 2, VISIT)][-1]


async def test_rows_of_an_audit_wait_for_each_other_as_long_as_it_takes() -> None:
    progress, _, problems = await audit(AT_ONCE, num_refusals=12)
    assert ("Done:" in progress, problems) == (True, "")


async def test_rows_that_are_refused_for_another_reason_are_given_up() -> None:
    progress, _, problems = await audit(TOO_OFTEN, num_refusals=12)
    assert "No row could be judged." in progress
    assert problems.count("Too many requests.") == 2


async def test_a_candidate_that_utf_8_does_not_know_is_refused_in_words() -> None:
    samples = load_shipped_samples()
    tab = RankTab(Api(FastAPI()), samples)
    picture, question = str(samples[0].image), samples[0].question
    shown = [each async for each in tab.rank(picture, question, r'["\ud800", "b"]', "auto", VISIT)]
    assert "The candidates cannot be sent." in shown[-1][0]
