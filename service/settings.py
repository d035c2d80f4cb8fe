"""Every setting of the service, declared once: environment variables with the prefix `GENRM_`, overridden by flags.

The object is built at start-up, is frozen, and is passed to whatever needs it; nothing reads the environment later.
The table in the documentation is generated from the descriptions below (`service.settings_table`), so a description
says what the setting *does*.
"""

import difflib
import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from genrm.evidence import ExpertUse
from genrm.media import ImageLimits
from genrm.verdict import VerdictRules
from service.errors import StartError

PREFIX = "GENRM_"
_LIMITS = ImageLimits()
_RULES = VerdictRules()


class Settings(BaseSettings):
    """What an operator can choose. Units are in the names; sizes are bytes, characters, pixels or tokens."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="Address to listen on. `0.0.0.0` opens the service to the network.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on. 0 takes a free one and prints it.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of `/metrics`, which then is nowhere else and alone there. 0 takes a free one and prints it. "
        "Empty: on the service's port.",
    )
    metrics_host: str | None = Field(
        None, description="Address that `GENRM_METRICS_PORT` listens on. Empty: that of `GENRM_HOST`."
    )

    playground: Literal["auto", "on", "off"] = Field(
        "auto",
        description="The page at `/playground`, for people. `auto`: wherever the extra `ui` is installed; `on`: the "
        "service does not start without it; `off`: there is none.",
    )

    playground_max_bytes: int = Field(
        2**30,
        ge=2**20,
        description="Most bytes of uploads and results that the playground keeps at once, of all visitors; each file "
        "goes after an hour. Above: 503, and 413 for one that alone is larger.",
    )

    api_keys_file: str | None = Field(
        None,
        description="File of API keys, one a line: `name:sha256-hex`, then options such as `:requests_per_minute=60"
        ":max_concurrent=4`; `vl-genrm keys new NAME` makes one. It is read again when it changes. With it, every path "
        "but `/livez`, `/readyz`, `/health` and `/metrics` needs a key; `/playground` asks for one itself.",
    )
    api_keys: SecretStr | None = Field(
        None,
        description="API keys of a small set-up, `name:key,name:key`, with the same effect as a file. Never logged.",
    )
    requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests per minute and key, unless its line says otherwise. Above: 429."
    )
    max_concurrent_per_key: int | None = Field(
        None, ge=1, description="Most requests of one key at once, unless its line says otherwise. Above: 429."
    )
    max_queue: int = Field(
        256, ge=1, description="Most judgements and verifications waiting or running at once. Above: 503, unread."
    )
    max_queue_seconds: float = Field(
        30.0,
        gt=0,
        description="Longest wait that a new one may expect, by what waits and how fast this replica was lately. "
        "Above: 503, unread.",
    )
    request_timeout_seconds: float | None = Field(
        None,
        gt=0,
        description="How long after its arrival a judgement or verification is dropped and answered with 504. A "
        "request may ask for less (`X-Request-Timeout-Seconds`).",
    )

    model: str | None = Field(
        None,
        description="Folder or hub id of the judge; with `GENRM_ENGINE_URL`, the model's name on that server. "
        "Empty: the judge that ships with the package, or the only model of that server.",
    )
    adapter: str | None = Field(None, description="Folder or hub id of a PEFT adapter that is put on the model.")
    adapters: str | None = Field(
        None,
        description="LoRA adapters that requests may name as their `model`, `name=folder-or-hub-id,…`, weights in "
        "safetensors. They are put on the model as it is served, `GENRM_ADAPTER` included.",
    )
    adapter_folder: str | None = Field(
        None,
        description="Folder inside which `POST /v1/load_lora_adapter` finds adapters. Empty: nothing is loaded or "
        "unloaded on request. Whoever may send judgements may then also replace and unload adapters.",
    )
    max_adapters: int = Field(16, ge=1, description="Most adapters that are loaded at once. Above: 422.")
    device: str = Field("auto", description="`auto` (an accelerator if there is one), `cpu`, `cuda`, `cuda:1`, `mps`.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the weights. `auto` takes what the device computes fast and right."
    )
    attention: Literal["sdpa", "eager"] = Field(
        "sdpa", description="Attention implementation. `eager` is slower, for comparison and for odd hardware."
    )
    max_batch_tokens: int = Field(
        65_536,
        ge=1,
        description="Tokens of all readings that run together, prompts and answers. More serves more clients at "
        "once and needs more memory for cached keys and values.",
    )
    max_prefix_tokens: int = Field(
        8_192,
        ge=0,
        description="Tokens of images and questions that stay computed from one request to the next, for whoever sends "
        "them again; each holds memory for its keys and values. 0 keeps none.",
    )
    engine_url: str | None = Field(
        None,
        description="Base URL of an OpenAI-compatible server (vLLM, SGLang), e.g. `http://localhost:8001/v1`. "
        "The model then runs there; device, dtype, attention and batch settings do not apply to it, and adapters are "
        "refused: requests may name any model that the server lists.",
    )
    engine_api_key: SecretStr | None = Field(None, description="Bearer key for `GENRM_ENGINE_URL`. Never logged.")
    engine_max_requests: int = Field(
        64, ge=1, description="Most requests to `GENRM_ENGINE_URL` at once, two per judgement; more wait their turn."
    )

    experts: str = Field(
        "auto",
        description="Vision experts, separated by commas: `shipped`, `grounding-dino:MODEL`, `detector:MODEL`, "
        "`detectron2:CONFIG`, MODEL a folder or hub id; or `none`. `auto`: the shipped one beside the shipped judge. "
        "`statements:MODEL`, or `statements:shipped`, has a vision-language model of the Qwen2-VL family check whole "
        "sentences as well. All run in this process, on `GENRM_DEVICE`.",
    )
    expert_use: ExpertUse = Field(
        "prompt",
        description="What experts are for unless a request says otherwise: `prompt` (the judge reads which objects "
        "they found), `combine` (it does not; the log-odds of objects and statements are added to its own), `evidence` "
        "(only the caller reads it), `off`.",
    )
    expert_rule: Literal["weighted", "any", "all"] = Field(
        "weighted",
        description="How several experts decide whether an object is there: by their reliability, if one of them "
        "finds it, or if all of them do.",
    )
    expert_threshold: float | None = Field(
        None, gt=0, lt=1, description="Least score of a box that counts. Empty: each expert's own default."
    )
    expert_timeout_seconds: float = Field(
        10.0, gt=0, description="Longest wait for one expert; what a slower one would have checked is unchecked."
    )
    experts_required: bool = Field(
        default=True, description="Whether an expert that cannot be loaded keeps the service from starting."
    )

    database_url: SecretStr | None = Field(
        None,
        description="Database of files, batches and answers by Idempotency-Key: `sqlite:////folder/genrm.db` for one "
        "process, `postgresql://user:password@host/name` for replicas that share the work, or `none`: then there are "
        "neither. Empty: an SQLite file in the user's state folder. Never logged.",
    )
    batch_workers: int = Field(
        8,
        ge=1,
        le=256,
        description="Lines of batches that run at once while nobody else asks; one while requests run. After a crash "
        "at most so many are judged again.",
    )
    max_file_bytes: int = Field(
        512 * 2**20, ge=1024, description="Largest file that may be uploaded for a batch, in bytes. Above: 413."
    )
    file_retention_days: float = Field(
        30.0,
        gt=0,
        le=1_000_000,
        description="How long uploaded files, and the results of batches that have ended, are kept.",
    )

    tie_margin: float = Field(
        _RULES.tie_margin, ge=0, le=1, description="A verdict whose |P(A) − P(B)| is at most this is a `tie`."
    )
    min_label_mass: float = Field(
        _RULES.min_label_mass, ge=0, le=1, description="A verdict with less label mass than this is `abstained`."
    )
    max_tokens: int = Field(
        512, ge=1, description="Most tokens one critique may have; the default and the upper limit of `max_tokens`."
    )
    max_samples: int = Field(16, ge=1, description="Upper limit of `samples`, the number of critiques per order.")
    max_text_characters: int = Field(
        20_000, ge=1, description="Longest question or response, in characters. Longer ones are answered with 413."
    )
    max_image_bytes: int = Field(
        _LIMITS.max_image_bytes, ge=1, description="Largest image file, in bytes, after base64 decoding. Above: 413."
    )
    max_image_pixels: int = Field(
        _LIMITS.max_image_pixels,
        ge=1,
        description="Largest image, width × height, read from its header before any pixel is decoded; all images of a "
        "request together may have twice as many. Above: 413.",
    )
    max_waiting_pixels: int = Field(
        500_000_000,
        ge=1,
        description="Pixels of decoded images that all requests hold together, three bytes each, from before they wait "
        "until they are answered; batches aside. Above: 503.",
    )
    min_image_side_pixels: int = Field(
        _LIMITS.min_image_side_pixels, ge=1, description="Shortest side that an image may have, in pixels."
    )
    max_image_aspect_ratio: float = Field(
        _LIMITS.max_image_aspect_ratio, ge=1, description="How many times longer than its shorter side an image may be."
    )
    image_hosts: str = Field(
        "",
        description="Hosts that images may be fetched from by URL, separated by commas: `images.example.com`, "
        "`*.example.com` for its sub-domains, `host:port`; by https, unless written `http://host`. They must have "
        "public addresses. Empty: nothing is ever fetched.",
    )
    image_fetch_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="Longest that fetching one image may take, from looking up its host to its last byte, redirects "
        "included. Above: 422.",
    )
    max_images: int = Field(_LIMITS.max_images, ge=1, description="Most images in one comparison. Above: 413.")
    max_candidates: int = Field(64, ge=1, description="Most candidates of one ranking (`POST /v1/rerank`).")
    max_body_bytes: int = Field(
        32 * 2**20, ge=1024, description="Largest request body, in bytes. Above: 413, before the rest is read."
    )
    keep_alive_seconds: float = Field(
        15.0,
        gt=0,
        description="How often a silent stream gets a comment line, so that proxies do not take it for dead.",
    )

    shutdown_delay_seconds: float = Field(
        1.0,
        ge=0,
        description=(
            "After SIGTERM, how long `/readyz` answers 503 before the port closes, so that load balancers notice."
        ),
    )
    shutdown_timeout_seconds: int = Field(
        25,
        ge=1,
        description="After SIGTERM and the delay, how long running judgements may take to finish before they are "
        "cancelled. Kubernetes kills after 30 seconds in all.",
    )
    max_stall_seconds: float = Field(
        300.0, gt=0, description="`/livez` answers 503 when the worker has work and did nothing for this long."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")
    log_format: Literal["plain", "json"] = Field(
        "plain", description="`plain` for people, `json` (one object a line) for log collectors."
    )
    traces_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]",
        description="Where traces go: the OTLP/HTTP endpoint of a collector, e.g. `http://collector:4318/v1/traces`; "
        "needs the extra `otel`. Empty: no traces.",
    )

    @property
    def image_limits(self) -> ImageLimits:
        """The caps on pictures in the form that `genrm.media` takes."""
        return ImageLimits(
            max_image_bytes=self.max_image_bytes,
            max_image_pixels=self.max_image_pixels,
            max_images=self.max_images,
            min_image_side_pixels=self.min_image_side_pixels,
            max_image_aspect_ratio=self.max_image_aspect_ratio,
        )

    @property
    def verdict_rules(self) -> VerdictRules:
        """The thresholds in the form that `genrm.judge` takes."""
        return VerdictRules(tie_margin=self.tie_margin, min_label_mass=self.min_label_mass)


def load_settings(**overrides: object) -> Settings:
    """The settings from the environment with `overrides` on top; an override of None counts as not given.

    Raises StartError that names the variable, what it was given and what is allowed; secret values are not repeated.
    """
    given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise StartError(" ".join(_describe(problem) for problem in error.errors())) from None


def find_misspelt(environment: Mapping[str, str] | None = None) -> list[str]:
    """One sentence for each `GENRM_` variable that resembles a setting and is none.

    environment: variables to look through; None takes the process's own. Orchestrators inject variables of their own
    for a service called genrm (`GENRM_SERVICE_HOST`, …), so those and names that resemble nothing are not reported, and
    a report is a warning, not an error.
    """
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    return [
        f"{name} is not a setting and has no effect; did you mean {near[0]}?"
        for name in (os.environ if environment is None else environment)
        if name.startswith(PREFIX)
        and not name.startswith(f"{PREFIX}SERVICE_")
        and name not in known
        and (near := difflib.get_close_matches(name, known, 1, 0.8))
    ]


def _describe(problem: Mapping[str, Any]) -> str:
    name = str(problem["loc"][0])
    known = Settings.model_fields
    if name not in known:
        return f"{name} is not a setting. Known: {', '.join(known)}."
    is_secret = SecretStr in get_args(known[name].annotation)
    given = "a value that is not shown" if is_secret else repr(problem["input"])
    return f"{PREFIX}{name.upper()} is {given}: {problem['msg']}. Set the variable or the flag to an allowed value."
