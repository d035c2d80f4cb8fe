"""The service keeps to its own OpenAPI document, whatever fits the document's schemas or breaks them.

`bench/fuzz.py` does the same for longer, with the shipped judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS

if TYPE_CHECKING:
    from tests.service.conftest import Serve

OPERATIONS = [
    ("POST", "/v1/judge"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/verify"),
    ("POST", "/v1/rewards/openrlhf"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/{file_id}"),
    ("DELETE", "/v1/files/{file_id}"),
    ("GET", "/v1/files/{file_id}/content"),
    ("POST", "/v1/batches"),
    ("GET", "/v1/batches"),
    ("GET", "/v1/batches/{batch_id}"),
    ("POST", "/v1/batches/{batch_id}/cancel"),
    ("GET", "/v1/models"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/health"),
    ("GET", "/metrics"),
]
NAMES = ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
# The service's own threads draw random numbers while values are made up in another.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
EXPECTED_ABOVE_500 = {504}  # a deadline of next to nothing is asked for often


@pytest.fixture(scope="module")
def document(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document of a live service on the fake engine, with a database."""
    with serve(database_url=f"sqlite:///{tmp_path_factory.mktemp('database') / 'genrm.db'}") as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_documented_operation_is_tried(document: Any) -> None:
    found = {(each.ok().method.upper(), each.ok().path) for each in document.get_all_operations()}
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_keep_to_the_document(document: Any, method: str, path: str) -> None:
    checks: Any = CHECKS.get_by_names(NAMES)

    @given(case=document[path][method].as_strategy())
    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case[Any]) -> None:
        response = case.call(timeout=60)
        assert response.status_code < 500 or response.status_code in EXPECTED_ABOVE_500
        case.validate_response(response, checks=checks)

    check()
