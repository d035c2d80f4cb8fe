"""What routes get handed: the application's settings, life and metrics, put there by `create_app`."""

from typing import Annotated

from fastapi import Depends, Request

from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.settings import Settings


def _get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _get_lifecycle(request: Request) -> Lifecycle:
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


def _get_metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


AppSettings = Annotated[Settings, Depends(_get_settings)]
AppLifecycle = Annotated[Lifecycle, Depends(_get_lifecycle)]
AppMetrics = Annotated[Metrics, Depends(_get_metrics)]
