"""`GET /v1/models`: what is served."""

from fastapi import APIRouter

from service.access import AppLifecycle
from service.openapi import ERROR_RESPONSES
from service.schemas import ModelList

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the served models", responses=ERROR_RESPONSES)
async def list_models(lifecycle: AppLifecycle) -> ModelList:
    """The model that judges unless a request names another one, and those that it may name; empty while it is loading.

    An adapter's `parent` is the model that it is put on.
    """
    return ModelList(data=await lifecycle.list_models())
