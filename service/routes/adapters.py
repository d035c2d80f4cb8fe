"""`POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`: adapters come and go without a restart, as in vLLM."""

import asyncio

from fastapi import APIRouter, Request

from genrm.errors import ModelLoadError
from service.access import AppLifecycle, AppSettings
from service.adapter_sources import find_adapter, hide_root, require_adapter_folder
from service.errors import RefusalError
from service.incoming import read_fields
from service.openapi import ERROR_RESPONSES, LOAD_ADAPTER_BODY, UNLOAD_ADAPTER_BODY
from service.schemas import LoadAdapterRequest, ModelCard, UnloadAdapterRequest, UnloadedModel

router = APIRouter(tags=["models"])


@router.post(
    "/v1/load_lora_adapter",
    summary="Load an adapter, or replace one",
    responses=ERROR_RESPONSES,
    openapi_extra={"requestBody": LOAD_ADAPTER_BODY},
)
async def load_adapter(request: Request, lifecycle: AppLifecycle, settings: AppSettings) -> ModelCard:
    """Serve a LoRA adapter of the service's folder (`GENRM_ADAPTER_FOLDER`) as a model of its own.

    The answer comes when the adapter has been read and tried out; if it cannot be served, nothing changes. With
    `load_inplace` it takes the place of the adapter of that name: requests that began before keep the old weights.
    """
    models = lifecycle.require_models()
    root = require_adapter_folder(settings)
    fields = await read_fields(request, settings, LoadAdapterRequest)
    folder = await asyncio.to_thread(find_adapter, root, fields.lora_path)
    try:
        return await models.load_adapter(
            fields.lora_name, str(folder), root=str(folder.relative_to(root)), may_replace=fields.load_inplace
        )
    except ModelLoadError as error:
        raise RefusalError("adapter_refused", hide_root(str(error), root), param="lora_path") from error


@router.post(
    "/v1/unload_lora_adapter",
    summary="Unload an adapter",
    responses=ERROR_RESPONSES,
    openapi_extra={"requestBody": UNLOAD_ADAPTER_BODY},
)
async def unload_adapter(request: Request, lifecycle: AppLifecycle, settings: AppSettings) -> UnloadedModel:
    """Serve an adapter no more. Requests that began before are answered by it."""
    models = lifecycle.require_models()
    require_adapter_folder(settings)
    fields = await read_fields(request, settings, UnloadAdapterRequest)
    await models.unload_adapter(fields.lora_name)
    return UnloadedModel(id=fields.lora_name)
