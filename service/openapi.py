"""What the OpenAPI document says beyond what the framework finds out: both kinds of body, the stream, and an example
of every error.

The judge route reads its body itself, so its schemas are put into the document here, from the same models that check
requests.
"""

from typing import Any, get_args

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from genrm.prompts import PROMPT_VERSION
from service.errors import HTTP_STATUS, MEANING, Code, Failure
from service.rerank_schemas import RerankRequest, RerankResponse
from service.schemas import (
    CritiqueDelta,
    ErrorBody,
    JudgeFields,
    JudgeRequest,
    JudgeResponse,
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
        "phrase": "dog",
        "mention": "dogs",
        "polarity": "affirmed",
        "count": count,
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

_EXAMPLE_ERRORS: dict[Code, tuple[str, str | None]] = {
    "no_experts": (
        (
            "This service has no vision experts, so nothing can be verified. Start it with GENRM_EXPERTS, e.g. "
            "GENRM_EXPERTS=grounding-dino:IDEA-Research/grounding-dino-base."
        ),
        None,
    ),
    "not_found": ("There is nothing at GET /v1/judges. GET /docs lists what there is.", None),
    "model_not_found": (
        "The model 'gpt' is not served here; served: judge. Name that, or leave 'model' out.",
        "model",
    ),
    "method_not_allowed": ("GET /v1/judge is not possible; this URL takes POST. Use that.", None),
    "body_too_large": (
        (
            "The request body is 99,614,720 bytes long; the limit is 33,554,432 bytes. Send smaller or fewer images, "
            "or raise GENRM_MAX_BODY_BYTES."
        ),
        None,
    ),
    "image_too_large": (
        "Image is 20000x20000 pixels (400.0 MP); the limit is 40 MP. Resize it, or raise GENRM_MAX_IMAGE_PIXELS.",
        "image.url",
    ),
    "text_too_long": (
        "Response A has 100,000 characters; the limit is 20,000. Shorten it, or raise GENRM_MAX_TEXT_CHARACTERS.",
        "response_a",
    ),
    "too_many_images": ("The request has 9 images; the limit is 8. Send fewer, or raise GENRM_MAX_IMAGES.", "images"),
    "invalid_image": (
        "The file is not an image of an accepted kind; PNG, JPEG, WebP and GIF are. Convert it to one of them.",
        "image.url",
    ),
    "unsupported_media_type": (
        (
            "The body's content type is 'text/plain'; application/json and multipart/form-data are allowed. Set the "
            "Content-Type header to what the body is."
        ),
        None,
    ),
    "invalid_json": (
        "The body is not valid JSON. Send an object in UTF-8, or a multipart form with its content type.",
        None,
    ),
    "invalid_multipart": (
        "The body is not a valid multipart form. Let an HTTP library build it, boundary included.",
        None,
    ),
    "invalid_value": ("Field 'samples' was given the string 'many'; it takes an integer. Correct it.", "samples"),
    "missing_field": ("Field 'question' is missing. Add it.", "question"),
    "remote_image_refused": (
        (
            "The image is a remote URL (https://example.com/dog.png); this service fetches nothing. Send the picture "
            "itself: a data URL 'data:image/png;base64,…', or a file in a multipart form."
        ),
        "image.url",
    ),
    "unknown_field": ("Field 'answer_a' does not exist in this version. Remove it.", "answer_a"),
    "internal_error": ("The service failed on this request. Its log has the reason under this request id.", None),
    "engine_failed": (
        (
            "The model failed on this request, which is well formed. Send it again; if that fails too, the service's "
            "log has the reason under this request id."
        ),
        None,
    ),
    "not_ready": ("The model (the shipped judge) is not loaded yet. Ask again later; /readyz says when.", None),
    "shutting_down": (
        "This replica is stopping and takes nothing new. Send the request to another one, or again in a second.",
        None,
    ),
}


def _render_example(code: Code) -> dict[str, Any]:
    message, param = _EXAMPLE_ERRORS[code]
    failure = Failure(code=code, message=message, param=param)
    return {"error": {"type": failure.type, "message": message, "param": param, "code": code}}


JUDGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JudgeResponse,
        "description": "The verdict; as a stream of server-sent events if `stream` is true.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: critique\ndata: {"first":"A","delta":"I"}\n\nevent: verdict\ndata: {"id":"…"}\n\n',
            },
        },
    },
    **{status: {"model": ErrorBody, "description": meaning} for status, meaning in MEANING.items()},
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
    **{status: {"model": ErrorBody, "description": meaning} for status, meaning in MEANING.items()},
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
    **{status: {"model": ErrorBody, "description": meaning} for status, meaning in MEANING.items()},
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


def install_schema(app: FastAPI) -> None:
    """Make `app.openapi()` add the schemas that the framework can not know of."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"] |= _build_schemas()
        judging = document["paths"]["/v1/judge"]["post"]["responses"]
        judging["200"]["content"]["application/json"]["example"] = EXAMPLE_RESPONSE
        for path in ("/v1/judge", "/v1/rerank", "/v1/verify"):
            _add_error_examples(document["paths"][path]["post"]["responses"])
        return document

    app.openapi = openapi  # type: ignore[method-assign] # the documented way to extend it


def _add_error_examples(responses: dict[str, Any]) -> None:
    """Put an example of every kind of error in place: the framework would drop their null values."""
    for status in MEANING:
        codes = [code for code in get_args(Code) if HTTP_STATUS[code] == status]
        examples = {code: {"value": _render_example(code)} for code in codes}
        responses[str(status)]["content"]["application/json"]["examples"] = examples


def _build_schemas() -> dict[str, Any]:
    models = (JudgeRequest, JudgeFields, CritiqueDelta, RerankRequest, VerifyRequest, VerifyFields)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
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
