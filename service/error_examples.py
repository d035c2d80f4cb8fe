"""An example of every kind of error, for the OpenAPI document: what a real one says."""

from typing import Any

from service.errors import Code, Failure

_EXAMPLE_ERRORS: dict[Code, tuple[str, str | None]] = {
    "missing_api_key": (
        (
            "The request brings no API key, and this service wants one. Send the header 'Authorization: Bearer KEY'; "
            "the operator gives out keys."
        ),
        None,
    ),
    "invalid_api_key": (
        (
            "The request's API key is not one that counts here. Check it for typing errors, or ask the operator for a "
            "new one; keys can be taken back."
        ),
        None,
    ),
    "no_experts": (
        (
            "This service has no vision experts, so nothing can be verified. Start it with GENRM_EXPERTS, e.g. "
            "GENRM_EXPERTS=grounding-dino:IDEA-Research/grounding-dino-base."
        ),
        None,
    ),
    "no_database": (
        (
            "This service keeps nothing (GENRM_DATABASE_URL is none), so it has no files and batches. Have the setting "
            "changed, or use another service."
        ),
        None,
    ),
    "batch_ended": ("The batch 'batch_6f1c' is completed; it can no longer be cancelled.", None),
    "file_in_use": (
        "The file 'file-6f1c' belongs to a batch that has not ended. Cancel the batch, or wait for its end.",
        None,
    ),
    "file_too_large": (
        "The file has more than 536,870,912 bytes, the limit. Split it, or raise GENRM_MAX_FILE_BYTES.",
        "file",
    ),
    "idempotency_key_in_use": (
        (
            "A request with this Idempotency-Key is running. Ask again when it is over, or use a new key for another "
            "request."
        ),
        "Idempotency-Key",
    ),
    "idempotency_key_reused": (
        (
            "This Idempotency-Key was used before, with another method, path, query or body. Use a new key for a new "
            "request."
        ),
        "Idempotency-Key",
    ),
    "storage_failed": (
        (
            "The service's database did not take part. Nothing half-done is left; send the request again. The "
            "service's log has the reason under this request id."
        ),
        None,
    ),
    "no_adapter_folder": (
        (
            "This service loads and unloads no adapters on request. Start it with GENRM_ADAPTER_FOLDER, the folder "
            "that they lie in."
        ),
        None,
    ),
    "adapter_refused": (
        (
            "The adapter candidate-7 was trained on base, not on judge. Choose that model or another adapter; if both "
            "names mean the same weights, correct base_model_name_or_path in its adapter_config.json."
        ),
        "lora_path",
    ),
    "not_found": ("There is nothing at GET /v1/judges. GET /docs lists what there is.", None),
    "model_not_found": (
        "The model 'gpt' is not served here; served: judge, candidate. Name one of these, or leave 'model' out.",
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
            "itself: a data URL 'data:image/png;base64,…', or a file in a multipart form. Or have the operator list "
            "the host in GENRM_IMAGE_HOSTS."
        ),
        "image.url",
    ),
    "remote_image_failed": (
        (
            "The image's host images.example.com answered with status 404; 200 is needed. Check the URL, or send the "
            "picture itself as a data URL 'data:image/png;base64,…'."
        ),
        "image.url",
    ),
    "unknown_field": ("Field 'answer_a' does not exist in this version. Remove it.", "answer_a"),
    "rate_limited": (
        (
            "This key has sent its 60 requests of a minute. Wait as long as Retry-After says, or ask the operator for "
            "more (requests_per_minute of the key, GENRM_REQUESTS_PER_MINUTE)."
        ),
        None,
    ),
    "too_many_requests_at_once": (
        (
            "This key has 4 requests running; 4 at once are allowed. Wait for an answer before the next request, or "
            "ask the operator for more (max_concurrent of the key, GENRM_MAX_CONCURRENT_PER_KEY)."
        ),
        None,
    ),
    "internal_error": ("The service failed on this request. Its log has the reason under this request id.", None),
    "engine_failed": (
        (
            "The model failed on this request, which is well formed. Send it again; if that fails too, the service's "
            "log has the reason under this request id."
        ),
        None,
    ),
    "no_room": (
        (
            "There is no room for 8,388,608 bytes: the playground holds 2,146,435,072 of 2,147,483,648 allowed. Try "
            "again in 12 minutes, when older files go, or raise GENRM_PLAYGROUND_MAX_BYTES."
        ),
        None,
    ),
    "not_ready": ("The model (the shipped judge) is not loaded yet. Ask again later; /readyz says when.", None),
    "overloaded": (
        (
            "A judgement would wait about 42 s here; the limit is 30 s (GENRM_MAX_QUEUE_SECONDS). Send the request to "
            "another replica, or again when Retry-After says."
        ),
        None,
    ),
    "deadline_exceeded": (
        (
            "There was no answer within 5 s, so the work was dropped. Allow more time with the header "
            "X-Request-Timeout-Seconds; GENRM_REQUEST_TIMEOUT_SECONDS is its upper limit. Or ask for less."
        ),
        None,
    ),
    "shutting_down": (
        "This replica is stopping and takes nothing new. Send the request to another one, or again in a second.",
        None,
    ),
}


def render_error_example(code: Code) -> dict[str, Any]:
    """The body of an error of a kind, as an example."""
    message, param = _EXAMPLE_ERRORS[code]
    failure = Failure(code=code, message=message, param=param)
    return {"error": {"type": failure.type, "message": message, "param": param, "code": code}}
