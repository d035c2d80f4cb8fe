"""What goes over the wire of a ranking: the shape that Jina, Cohere and vLLM agree on, with images in the query.

`query` and every document are a text, or `{"content": [parts]}` with OpenAI's parts `text` and `image_url`. What
clients of that shape do not know (`wins`, `cycles`, …) they ignore; what we do not know is refused, as everywhere.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from genrm.evidence import ExpertUse
from genrm.ranking import Strategy, StrategyChoice
from genrm.types import Evidence, Mode, Timings, Usage, WireModel
from service.schemas import ImageFields, ImageInput


class TextPart(WireModel):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImagePart(WireModel):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageInput


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Content(WireModel):
    """Text and pictures, in OpenAI's parts."""

    content: tuple[Part, ...] = Field(min_length=1)

    @property
    def text(self) -> str:
        """All text parts, a line each."""
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def image_urls(self) -> tuple[str, ...]:
        """The URLs of all pictures, in order."""
        return tuple(part.image_url.url for part in self.content if isinstance(part, ImagePart))


def _as_content(value: Any) -> Any:  # noqa: ANN401 - whatever a request holds
    """A bare text, or `{"text": …}`, as content; arrays as tuples, which strict checks want of what is no JSON."""
    if isinstance(value, dict) and set(value) == {"text"}:
        value = value["text"]
    if isinstance(value, str):
        return {"content": ({"type": "text", "text": value},)}
    if isinstance(value, dict) and isinstance(value.get("content"), list):
        return {**value, "content": tuple(value["content"])}
    return value


TextOrContent = Annotated[Content, BeforeValidator(_as_content, json_schema_input_type=str | Content)]


class RerankRequest(ImageFields):
    """Candidates for one question about images. The images are in the query's parts, or in `image` or `images`."""

    model: str | None = Field(
        default=None, description="The name of a served model (`GET /v1/models`). Default: the first of them."
    )
    query: TextOrContent = Field(description="The question: a text, or `{content: [parts]}` with the images.")
    documents: tuple[TextOrContent, ...] = Field(
        min_length=1, description="The candidates, texts or `{content: [text parts]}`; at most `GENRM_MAX_CANDIDATES`."
    )
    top_n: int | None = Field(default=None, ge=1, description="How many results are sent; all by default.")
    return_documents: bool = Field(default=False, description="Whether results repeat their candidate's text.")
    strategy: StrategyChoice = Field(
        default="auto",
        description="Which pairs are judged. `all_pairs`: n(n-1)/2. `swiss`: rounds among neighbours of the ranking, "
        "two fifths of that unless there is a budget. `knockout`: n-1. `auto`: the most thorough that the budget "
        "allows; without one, all pairs of up to 8 candidates, else Swiss rounds.",
    )
    budget: int | None = Field(default=None, ge=0, description="Most judgements, both orders of a pair being one.")
    mode: Mode = Field(
        default="critique", description="`critique`: the model writes its reasons first. `fast`: probabilities only."
    )
    experts: ExpertUse | None = Field(
        default=None, description="What vision experts are used for; as in a judgement. They look at the images once."
    )
    id: str | None = Field(
        default=None, min_length=1, max_length=128, description="The caller's name for this ranking, sent back."
    )


class RerankDocument(WireModel):
    """A candidate as it was sent."""

    text: str


class RerankResult(WireModel):
    """How one candidate did."""

    index: int = Field(description="Of the candidate in the request, from 0.")
    relevance_score: float = Field(
        ge=0, le=1, description="Probability of being better than another candidate drawn at random."
    )
    document: RerankDocument | None = Field(description="The candidate, if `return_documents` is true.")
    wins: int
    losses: int
    ties: int = Field(description="Ties and abstentions.")
    evidence: tuple[Evidence, ...] = Field(
        description="What vision experts found of the objects that it claims, and of its statements."
    )


class RerankMatch(WireModel):
    """One pair that was judged, in both orders."""

    one: int = Field(description="Index of a candidate; of several with the same text, the first.")
    other: int = Field(description="Index of the other one, the greater of the two.")
    probability: float = Field(
        ge=0, le=1, description="That `one` is better than `other`; 0.5 where the judge abstained."
    )


class RerankUsage(Usage):
    """Tokens of all judgements. `cached_tokens` of `prompt_tokens` were not computed again."""

    total_tokens: int


class RerankResponse(WireModel):
    """A ranking, best first."""

    id: str = Field(description="The request's `id`, or a new one.")
    object: Literal["ranking"] = "ranking"
    created: int = Field(description="Seconds since 1970, UTC.")
    model: str
    prompt_version: str
    strategy: Strategy = Field(description="The strategy that was followed.")
    judgements: int = Field(description="Pairs judged, each in both orders.")
    abstained: int = Field(description="Judgements without a verdict; they count as draws.")
    consistency: float | None = Field(
        ge=0, le=1, description="Share of judgements in which both orders prefer the same candidate; null without any."
    )
    cycles: tuple[tuple[int, ...], ...] = Field(
        description="Sets of candidates (indices) that are preferred to each other in a circle."
    )
    matches: tuple[RerankMatch, ...] = Field(
        default=(), description="What was judged, pair by pair; pairs that the strategy left out are missing."
    )
    results: tuple[RerankResult, ...]
    warnings: tuple[str, ...] = Field(description="What went wrong without spoiling the rest.")
    usage: RerankUsage
    timings_ms: Timings
