"""What goes over the wire: requests and responses of the HTTP interface, shared by the service and its Python client.

A request with a field that is not declared here is refused, so that nobody believes in an option that does nothing.
Images are kept apart from the other fields because a form carries them as files.
"""

from typing import Literal

from pydantic import Field

from genrm.evidence import ExpertUse
from genrm.types import Evidence, Mode, Response, Timings, Verdict, WireModel


class ImageInput(WireModel):
    """One picture inside a JSON request."""

    url: str = Field(
        description="A data URL with base64 content: `data:image/png;base64,…`. PNG, JPEG, WebP or GIF (its first "
        "frame); the content decides, not the declared type. Or an https URL whose host is listed in "
        "`GENRM_IMAGE_HOSTS`; that list is empty by default, and any other remote URL is refused.",
    )


class ImageFields(WireModel):
    """The images of a JSON request. Exactly one of the two is given."""

    image: ImageInput | None = Field(default=None, description="The picture, when there is one.")
    images: tuple[ImageInput, ...] | None = Field(
        default=None, min_length=1, description="The pictures, in the order in which the text speaks of them."
    )


class JudgeFields(WireModel):
    """The fields of a judgement without its images; a form has these as text parts."""

    question: str = Field(description="What was asked about the images.")
    response_a: str = Field(description="The response that the verdict calls A.")
    response_b: str = Field(description="The response that the verdict calls B.")
    mode: Mode = Field(
        default="critique", description="`critique`: the model writes its reasons first. `fast`: probabilities only."
    )
    samples: int = Field(default=1, ge=1, description="Critiques per order; their probabilities are averaged.")
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="0 is greedy. Default: 0 for one sample, 1 for several.",
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Makes sampled critiques repeatable on the same engine."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Most tokens per critique. Default and upper limit: `GENRM_MAX_TOKENS`."
    )
    experts: ExpertUse | None = Field(
        default=None,
        description="What vision experts are used for: `prompt` (the judge reads which objects they found), `combine` "
        "(it does not, and the log-odds of objects and statements are added to the judge's), `evidence` (it only comes "
        "with the verdict), `off`. Default: `GENRM_EXPERT_USE`; `off` where no experts are loaded.",
    )
    stream: bool = Field(
        default=False, description="Send the critique as server-sent events while it is written, the verdict last."
    )
    model: str | None = Field(
        default=None, description="The name of a served model (`GET /v1/models`). Default: the first of them."
    )
    id: str | None = Field(
        default=None, min_length=1, max_length=128, description="The caller's name for this comparison, sent back."
    )


class JudgeRequest(JudgeFields, ImageFields):
    """A judgement as JSON. Exactly one of `image` and `images` is given."""


class VerifyFields(WireModel):
    """The fields of a verification without its images; a form has these as text parts."""

    text: str = Field(description="What is checked: any text about the images.")
    id: str | None = Field(
        default=None, min_length=1, max_length=128, description="The caller's name for it, sent back."
    )


class VerifyRequest(VerifyFields, ImageFields):
    """A verification as JSON. Exactly one of `image` and `images` is given."""


class VerifyResponse(WireModel):
    """What the vision experts say about each object that a text claims, and about its statements."""

    id: str = Field(description="The request's `id`, or a new one.")
    object: Literal["verification"] = "verification"
    created: int = Field(description="Seconds since 1970, UTC.")
    experts: tuple[str, ...] = Field(description="The experts that are loaded, as `name (model)`.")
    evidence: tuple[Evidence, ...] = Field(
        description="One item per claimed object, then, if a checker of statements is loaded, one per statement, in "
        "the order of the text."
    )
    support: float | None = Field(
        ge=0, le=1, description="Expected share of the checked claims that are true; null if none was checked."
    )
    warnings: tuple[str, ...] = Field(description="What went wrong without spoiling the rest.")
    timings_ms: Timings


class Envelope(WireModel):
    """What surrounds a verdict on the wire."""

    id: str = Field(description="The request's `id`, or a new one.")
    object: Literal["verdict"] = "verdict"
    created: int = Field(description="Seconds since 1970, UTC.")
    model: str = Field(description="The model that judged.")
    prompt_version: str = Field(description="The version of the prompt; verdicts of different versions do not compare.")


class JudgeResponse(Verdict, Envelope):
    """A verdict as it is sent."""


class CritiqueDelta(WireModel):
    """A piece of critique, in the order in which the model writes it; the event `critique` of a stream."""

    first: Response = Field(description="The reading it belongs to: which response stood first in that prompt.")
    delta: str = Field(description="New text. Both readings are written at once, so their deltas interleave.")


class ModelCard(WireModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(
        description="When the service started or, of an adapter, when it was loaded; seconds since 1970, UTC."
    )
    owned_by: Literal["vl-genrm"] = "vl-genrm"
    root: str | None = Field(default=None, description="What it was loaded from.")
    parent: str | None = Field(default=None, description="Of an adapter, the model that it is put on.")


class ModelList(WireModel):
    """All models that are served, the one that judges by default first."""

    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


class LoadAdapterRequest(WireModel):
    """An adapter to be served; the fields are vLLM's."""

    lora_name: str = Field(description="What requests will call it (`model`).")
    lora_path: str = Field(description="Its folder, relative to the service's folder of adapters.")
    load_inplace: bool = Field(default=False, description="Whether it may take the place of an adapter of that name.")


class UnloadAdapterRequest(WireModel):
    """An adapter to be served no more; the field is vLLM's."""

    lora_name: str = Field(description="Its name.")


class UnloadedModel(WireModel):
    """A model that is served no more."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class Health(WireModel):
    """The answer of the health checks."""

    status: Literal["ok", "loading", "failed", "stopping", "stalled"]
    detail: str = Field(description="What is not ready, in words; empty when all is well.")


class ErrorDetail(WireModel):
    """What went wrong, for people (`message`) and for programs (`code`)."""

    type: str = Field(description="Coarse class, as OpenAI's clients know it.")
    message: str = Field(description="What was given, what is allowed, what to do.")
    param: str | None = Field(description="The field at fault.")
    code: str = Field(description="The kind of error.")


class ErrorBody(WireModel):
    """The body of every answer that is not a success."""

    error: ErrorDetail
