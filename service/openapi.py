"""What the OpenAPI document says beyond what the framework finds out: both kinds of body, the stream, and an example
of every error.

The judge route reads its body itself, so its schemas are put into the document here, from the same models that check
requests.
"""

from functools import cache
from typing import Any, get_args

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from genrm.prompts import PROMPT_VERSION
from genrm.types import WireModel
from service.batches.schemas import BatchRequest
from service.error_examples import render_error_example
from service.errors import HTTP_STATUS, MEANING, Code
from service.openrlhf_schemas import RewardRequest, RewardResponse
from service.rerank_schemas import RerankRequest, RerankResponse
from service.schemas import (
    CritiqueDelta,
    ErrorBody,
    JudgeFields,
    JudgeRequest,
    JudgeResponse,
    LoadAdapterRequest,
    UnloadAdapterRequest,
    VerifyFields,
    VerifyRequest,
    VerifyResponse,
)

_REF = "#/components/schemas/{model}"

EXAMPLE_REQUEST = {
    "image": {"url": "data:image/png;base64,iVBORw0KGgo…"},
    "question": "How many dogs are in the picture?",
    "response_a": "There are two dogs.",
    "response_b": "There are three dogs and a cat.",
}


def _claim(count: int, finding: str, probability: float) -> dict[str, Any]:
    boxes = ([12.0, 40.5, 88.0, 120.0], [96.5, 44.0, 160.0, 118.5])
    return {
        "kind": "object",
        "phrase": "dog",
        "mention": "dogs",
        "polarity": "affirmed",
        "count": count,
        "place": None,
        "finding": finding,
        "probability": probability,
        "detections": [
            {"phrase": "dog", "score": 0.9, "box": box, "image": 0, "expert": "grounding-dino", "model": "expert"}
            for box in boxes
        ],
    }


EXAMPLE_RESPONSE = {
    "id": "verdict-6f1c0a4e4f0b4b7f9d0f0a1b2c3d4e5f",
    "object": "verdict",
    "created": 1795000000,
    "model": "judge",
    "prompt_version": PROMPT_VERSION,
    "status": "decided",
    "reason": None,
    "preferred": "A",
    "probabilities": {"A": 0.97, "B": 0.03},
    "margin": 0.94,
    "confidence": 0.96,
    "consistent": True,
    "label_mass": 0.99,
    "probability_source": "logprobs",
    "calibration_temperature": 1.0,
    "evidence_log_odds": None,
    "critique": "I see two dogs and no cat. The first response says two dogs: right. The second says three: wrong.",
    "readings": [
        {
            "first": first,
            "critique": f"I see two dogs and no cat. The {wrong} response says three dogs: wrong.",
            "probabilities": {"A": 0.97, "B": 0.03},
            "label_mass": 0.99,
            "finish_reason": "stop",
            "completion_tokens": 41,
        }
        for first, wrong in (("A", "second"), ("B", "first"))
    ],
    "evidence": {
        "A": [_claim(2, "supported", 0.97)],
        "B": [
            _claim(3, "contradicted", 0.02),
            {**_claim(1, "unsupported", 0.04), "phrase": "cat", "mention": "cat", "detections": []},
        ],
    },
    "expert_conflict": False,
    "warnings": [],
    "usage": {"prompt_tokens": 262, "completion_tokens": 82, "cached_tokens": 96},
    "timings_ms": {"queue": 0.4, "media": 1.2, "experts": 0.0, "engine": 180.5, "total": 184.0},
}

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": meaning} for status, meaning in MEANING.items()
}

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {**_ERRORS}
"""Of routes whose answer the framework describes."""

_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["critique", "verdict", "error"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "oneOf": [{"$ref": _REF.format(model=name)} for name in ("CritiqueDelta", "JudgeResponse", "ErrorBody")]
            },
        },
    },
    "required": ["event", "data"],
}
"""One event of a stream, as OpenAPI 3.2 describes it (`itemSchema`); readers of 3.1 see a text."""

JUDGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JudgeResponse,
        "description": "The verdict; as a stream of server-sent events if `stream` is true.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "itemSchema": _EVENT,
                "example": 'event: critique\ndata: {"first":"A","delta":"I"}\n\nevent: verdict\ndata: {"id":"…"}\n\n',
            },
        },
    },
    **_ERRORS,
}

JUDGE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": _REF.format(model="JudgeRequest")},
            "examples": {
                "critique": {"summary": "A verdict with its reasons", "value": EXAMPLE_REQUEST},
                "fast": {"summary": "Probabilities only", "value": {**EXAMPLE_REQUEST, "mode": "fast"}},
                "sampled": {
                    "summary": "Eight critiques per order, streamed",
                    "value": {**EXAMPLE_REQUEST, "samples": 8, "seed": 1, "stream": True},
                },
            },
        },
        "multipart/form-data": {"schema": {"$ref": _REF.format(model="JudgeForm")}},
    },
}


VERIFY_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": VerifyResponse,
        "description": "The evidence; as a picture if `annotated` is `png`.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    **_ERRORS,
}

VERIFY_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": _REF.format(model="VerifyRequest")},
            "example": {"image": EXAMPLE_REQUEST["image"], "text": "There are two dogs and no cat."},
        },
        "multipart/form-data": {"schema": {"$ref": _REF.format(model="VerifyForm")}},
    },
}


EXAMPLE_RERANK_REQUEST = {
    "query": {
        "content": [
            {"type": "image_url", "image_url": EXAMPLE_REQUEST["image"]},
            {"type": "text", "text": EXAMPLE_REQUEST["question"]},
        ]
    },
    "documents": [EXAMPLE_REQUEST["response_b"], EXAMPLE_REQUEST["response_a"], "There is one dog."],
    "top_n": 1,
}

RERANK_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": RerankResponse, "description": "The ranking, best first."},
    **_ERRORS,
}

RERANK_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": _REF.format(model="RerankRequest")},
            "examples": {
                "best": {"summary": "The best of three", "value": EXAMPLE_RERANK_REQUEST},
                "cheap": {
                    "summary": "As few judgements as possible",
                    "value": {**EXAMPLE_RERANK_REQUEST, "strategy": "knockout", "mode": "fast"},
                },
            },
        },
    },
}


FILE_CONTENT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes of the file.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    **_ERRORS,
}

FILE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "purpose": {"type": "string", "enum": ["batch"]},
                    "file": {"type": "string", "format": "binary", "description": "JSON lines, 50,000 at most."},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "Delete the file so long after its upload, not later than "
                        "GENRM_FILE_RETENTION_DAYS.",
                    },
                },
                "required": ["purpose", "file"],
                "additionalProperties": False,
            }
        }
    },
}

EXAMPLE_REWARD_REQUEST = {
    "query": [
        f"How many dogs are in the picture?\nAnswer: {answer}"
        for answer in (EXAMPLE_REQUEST["response_a"], EXAMPLE_REQUEST["response_b"])
    ],
    "prompts": ["How many dogs are in the picture?\nAnswer: "] * 2,
    "labels": [{"image": "data:image/png;base64,iVBORw0KGgo…", "question": EXAMPLE_REQUEST["question"]}] * 2,
}

REWARD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": RewardResponse, "description": "A reward for each row."},
    **_ERRORS,
}

REWARD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": _REF.format(model="RewardRequest")},
            "example": EXAMPLE_REWARD_REQUEST,
        },
    },
}


_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A name for this request, such as a UUID. Sent again within two days, with the same body, it gets "
    "the first answer again and nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def _json_body(model: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": _REF.format(model=model)}, "example": example}},
    }


LOAD_ADAPTER_BODY = _json_body("LoadAdapterRequest", {"lora_name": "candidate", "lora_path": "candidate-7"})
BATCH_BODY = _json_body("BatchRequest", {"input_file_id": "file-6f1c", "endpoint": "/v1/judge"})
UNLOAD_ADAPTER_BODY = _json_body("UnloadAdapterRequest", {"lora_name": "candidate"})


_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, where the service wants one."},
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The same key, written otherwise.",
    },
}


def install_schema(app: FastAPI) -> None:
    """Make `app.openapi()` add the schemas that the framework can not know of. The document is built once, when it is
    first asked for; routes that come later are not in it.
    """
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= _build_schemas()
        document["components"]["securitySchemes"] = _SECURITY_SCHEMES
        document["security"] = [{}, *({name: []} for name in _SECURITY_SCHEMES)]
        judging = document["paths"]["/v1/judge"]["post"]["responses"]
        judging["200"]["content"]["application/json"]["example"] = EXAMPLE_RESPONSE
        for path in (
            "/v1/judge",
            "/v1/rerank",
            "/v1/verify",
            "/v1/load_lora_adapter",
            "/v1/unload_lora_adapter",
            "/v1/rewards/openrlhf",
        ):
            _add_error_examples(document["paths"][path]["post"]["responses"])
        for operations in document["paths"].values():
            if "post" in operations:
                operations["post"].setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # the documented way to extend it


def _add_error_examples(responses: dict[str, Any]) -> None:
    """Put an example of every kind of error in place: the framework would drop their null values."""
    for status in MEANING:
        codes = [code for code in get_args(Code) if HTTP_STATUS[code] == status]
        examples = {code: {"value": render_error_example(code)} for code in codes}
        responses[str(status)]["content"]["application/json"]["examples"] = examples


_BODIES: tuple[type[WireModel], ...] = (
    JudgeRequest,
    JudgeFields,
    CritiqueDelta,
    RerankRequest,
    RewardRequest,
    VerifyRequest,
    VerifyFields,
    LoadAdapterRequest,
    UnloadAdapterRequest,
    BatchRequest,
)


def _build_schemas() -> dict[str, Any]:
    _, definitions = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
    schemas: dict[str, Any] = definitions["$defs"]
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "One file per picture: PNG, JPEG, WebP or GIF. Repeat the part for several.",
    }
    for name, what in (("Judge", "A judgement"), ("Verify", "A verification")):
        form = schemas.pop(f"{name}Fields")
        schemas[f"{name}Form"] = {
            **form,
            "title": f"{name}Form",
            "description": f"{what} as a form with files.",
            "properties": {"image": files, **form["properties"]},
            "required": ["image", *form["required"]],
        }
    return schemas
