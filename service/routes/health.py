"""Health checks for orchestrators: is the process alive, and may it get requests."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from service.access import AppLifecycle
from service.schemas import Health

router = APIRouter(tags=["health"])
_UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "No; `detail` says why."}}


@router.get("/livez", summary="Is the worker alive?", response_model=Health, responses=_UNHEALTHY)
async def check_liveness(lifecycle: AppLifecycle) -> Response:
    """503 when the model could not be loaded, or the worker has ended, or has work and makes no progress: restart the
    process.
    """
    return _answer(lifecycle.check_liveness())


@router.get("/readyz", summary="May it get requests?", response_model=Health, responses=_UNHEALTHY)
@router.get("/health", summary="The same as /readyz", response_model=Health, responses=_UNHEALTHY)
async def check_readiness(lifecycle: AppLifecycle) -> Response:
    """503 while the model loads (`detail` names it), when its worker has ended, and from SIGTERM on: send no requests
    here.
    """
    return _answer(lifecycle.check_readiness())


def _answer(health: Health) -> Response:
    status = 200 if health.status == "ok" else 503
    return Response(health.model_dump_json(), status_code=status, media_type="application/json")
