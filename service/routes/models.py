"""`GET /v1/models`: what is served."""

from fastapi import APIRouter

from service.access import AppLifecycle
from service.schemas import ModelCard, ModelList

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the served models")
async def list_models(lifecycle: AppLifecycle) -> ModelList:
    """The model that judges; empty while it is loading."""
    return ModelList(data=tuple(ModelCard(id=name, created=lifecycle.created) for name in lifecycle.model_names))
