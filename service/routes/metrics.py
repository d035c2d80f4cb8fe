"""`GET /metrics`: the application's series in Prometheus' text format."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.access import AppMetrics

router = APIRouter(tags=["metrics"])


@router.get("/metrics", summary="Series for Prometheus", response_class=Response)
async def read_metrics(metrics: AppMetrics) -> Response:
    """Durations, queue, rejections, tokens, and the judge's quality; all names start with `genrm_`."""
    return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)
