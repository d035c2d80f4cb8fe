"""Who judges in an evaluation: a model in this process or behind an OpenAI-compatible server, or a running service.

All give `genrm.types.Verdict`, so nothing that follows knows which one it was. A judge describes itself well enough
that verdicts of two different ones are never mixed in one folder.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from genrm.calibration import UNCALIBRATED, Calibration, find_calibration
from genrm.engines.contract import Engine
from genrm.errors import EngineError, InvalidComparisonError
from genrm.fingerprints import fingerprint_weights
from genrm.judge import Judge, JudgeOptions
from genrm.shipped import expert_folder, judge_folder, policy_folder
from genrm.types import Comparison, Verdict

if TYPE_CHECKING:
    import httpx

    from experts.panel import ExpertPanel

MAX_AWAY_SECONDS = 300.0
"""How long one request waits in all for a service that is busy or away. Large models take minutes to load."""
MAX_WAIT_SECONDS = 30.0
_LEAST_WAIT_SECONDS = 0.1
"""Whatever `Retry-After` says: a proxy may say 0."""
_MAX_DOUBLINGS = 5
_BUSY = frozenset({409, 429, 503})
_ROW_FIELDS = frozenset({"image", "images", "question", "response_a", "response_b"})


class PairJudge(Protocol):
    """Gives verdicts on comparisons, many at once. `start` it first, `close` it last."""

    async def start(self) -> None:
        """Load or reach what judges. Raises ModelLoadError or EngineError."""

    def describe(self) -> dict[str, object]:
        """What makes its verdicts its own, ready for JSON; after `start`."""

    async def judge(self, comparison: Comparison, options: JudgeOptions) -> Verdict:
        """The verdict. Raises InvalidComparisonError for a comparison it cannot judge, EngineError if it fails."""

    async def close(self) -> None:
        """Let go of what judges."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeChoice:
    """Which judge is asked. Raises ValueError if two of them are named.

    model, adapter: as for `vl-genrm serve`; the shipped judge if none is named. url: a running service. engine_url: an
    OpenAI-compatible server that runs `model`. expert: folder or hub id of the Grounding DINO that looks at images
    where experts are wanted; None takes the shipped one. statements: folder or hub id of a model that checks statements
    beside it, `shipped` for the shipped policy. use_calibration: apply the temperatures beside the model.
    """

    model: str | None = None
    adapter: str | None = None
    url: str | None = None
    engine_url: str | None = None
    expert: str | None = None
    statements: str | None = None
    with_experts: bool = False
    use_calibration: bool = True

    def __post_init__(self) -> None:
        names = ("model", "adapter", "engine_url", "expert", "statements")
        local = {name: getattr(self, name) for name in names}
        given = [f"--{name.replace('_', '-')}" for name, value in local.items() if value is not None]
        if self.url is not None and given:
            raise ValueError(f"{', '.join(given)} has no effect on a running service; drop it, or drop --url.")
        if self.engine_url is not None and self.adapter is not None:
            raise ValueError("--adapter has no effect on a model server, which loads its own; name it with --model.")
        if self.statements is not None and not self.with_experts:
            raise ValueError("--statements has no effect with --experts off; choose what experts are used for.")


def open_judge(choice: JudgeChoice) -> PairJudge:
    """The judge that was chosen, not started yet. Loading a model in this process imports torch."""
    if choice.url is not None:
        return RemoteJudge(choice.url, api_key=os.environ.get("GENRM_API_KEY"))
    if choice.engine_url is not None:
        from genrm.engines.openai_server import OpenAIEngine

        engine_key = os.environ.get("GENRM_ENGINE_API_KEY")
        return LocalJudge(
            OpenAIEngine(choice.engine_url, choice.model, api_key=engine_key),
            panel=_load_panel(choice),
            identity=_fingerprint_experts(choice),
        )
    from genrm.engines.in_process import InProcessEngine

    model = choice.model or str(judge_folder())
    engine = InProcessEngine(model, adapter=choice.adapter)
    return LocalJudge(
        engine,
        panel=_load_panel(choice),
        calibration=find_calibration(engine) if choice.use_calibration else UNCALIBRATED,
        identity={name: fingerprint_weights(Path(name)) for name in (model, choice.adapter) if name}
        | _fingerprint_experts(choice),
    )


class LocalJudge:
    """`genrm.judge.Judge` on an engine that it starts and closes.

    identity: what tells the weights, of experts too, apart from others of the same name.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        panel: "ExpertPanel | None" = None,
        calibration: Calibration = UNCALIBRATED,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        self._engine, self._panel, self._calibration = engine, panel, calibration
        self._identity = sorted((identity or {}).values())
        self._judge = Judge(engine, verifier=panel, calibration=calibration)

    async def start(self) -> None:
        """Start the engine."""
        await self._engine.start()

    def describe(self) -> dict[str, object]:
        """Model, weights, experts and calibration; of the latter `combined` only where it was fitted."""
        combined = {mode: asdict(scale) for mode, scale in self._calibration.combined.items()}
        return {
            "model": self._engine.model,
            "weights": self._identity,
            "experts": [f"{member.name} ({member.model})" for member in self._panel.members] if self._panel else [],
            "calibration": dict(self._calibration.temperatures),
            **({"combined": combined} if combined else {}),
        }

    async def judge(self, comparison: Comparison, options: JudgeOptions) -> Verdict:
        """As `Judge.judge`."""
        return await self._judge.judge(comparison, options)

    async def close(self) -> None:
        """Close the experts and the engine."""
        if self._panel is not None:
            self._panel.close()
        await self._engine.close()


class RemoteJudge:
    """A running service of ours, asked over HTTP.

    A busy service (429, 503) and a broken connection are tried again, waiting as long as `Retry-After` says, else
    backoff_seconds × 2^attempt, at most 30 s at a time and five minutes in all; with the same `Idempotency-Key`, so
    that what was judged before the connection broke is not judged again. How many requests run at once follows what
    the service takes (`training.evaluation.pace`). api_key: for a service that wants one. transport: in place of the
    network, for tests. Raises EngineError for a URL or a key that cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        backoff_seconds: float = 1.0,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        import httpx

        from training.evaluation.pace import Pace

        if not url.lower().startswith(("http://", "https://")):
            raise EngineError(f"The service's URL is {url!r}; give one such as http://127.0.0.1:8000.")
        key = (api_key or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise EngineError("GENRM_API_KEY has characters that a header cannot carry; pass it as it was given out.")
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=httpx.Timeout(600, connect=10),
            limits=httpx.Limits(max_connections=None),
            transport=transport,
        )
        self._url, self._backoff_seconds, self._model = url, backoff_seconds, ""
        self._pace = Pace()
        self._has_keys = True
        """Whether the service honours `Idempotency-Key`."""

    async def start(self) -> None:
        """Ask for the model that is served."""
        cards = (await self._ask("GET", "/v1/models", None)).json()["data"]
        if not cards:
            raise EngineError(f"{self._url} serves no model yet. Wait until /readyz says ok, then run this again.")
        self._model = str(cards[0]["id"])

    def describe(self) -> dict[str, object]:
        """The model that the service names; its address does not matter."""
        return {"service": "vl-genrm", "model": self._model}

    async def judge(self, comparison: Comparison, options: JudgeOptions) -> Verdict:
        """One request to `/v1/judge`; fields of a newer service are ignored."""
        from genrm.engines.chat_wire import encode_image

        images = await asyncio.to_thread(lambda: [{"url": encode_image(image)} for image in comparison.images])
        body = {
            "images": images,
            "question": comparison.question,
            "response_a": comparison.response_a,
            "response_b": comparison.response_b,
            "model": self._model,
            "mode": options.mode,
            "samples": options.samples,
            "temperature": options.temperature,
            "seed": options.seed,
            "max_tokens": options.max_tokens,
            "experts": options.experts,
        }
        return Verdict.model_validate_json((await self._ask("POST", "/v1/judge", body)).content, extra="ignore")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> "httpx.Response":
        import httpx

        wanted = {name: value for name, value in body.items() if value is not None} if body is not None else None
        key = {"Idempotency-Key": uuid.uuid4().hex}
        waited, attempt, problem = 0.0, 0, ""
        while True:
            wait = self._backoff_seconds * 2 ** min(attempt, _MAX_DOUBLINGS)
            try:
                async with self._pace.take():
                    headers = key if method == "POST" and self._has_keys else None
                    response = await self._http.request(method, path, json=wanted, headers=headers)
            except httpx.TransportError as error:
                problem = f"cannot be reached ({type(error).__name__})"
            else:
                if headers and _is_without_keys(response):
                    self._has_keys = False
                    wait = 0.0
                elif response.status_code not in _BUSY:
                    self._pace.speed_up()
                    return _checked(response, self._url)
                else:
                    self._pace.slow_down()
                    problem = f"is busy or loading (HTTP {response.status_code})"
                    wait = _read_retry_after(response.headers.get("Retry-After"), default=wait)
            attempt += 1
            wait = min(max(wait, _LEAST_WAIT_SECONDS), MAX_WAIT_SECONDS)
            if waited + wait > MAX_AWAY_SECONDS:
                raise EngineError(
                    f"{self._url} {problem}, and was asked {attempt} times over {waited:.0f} s. Start it or wait, then "
                    "run this again: what was judged is kept."
                )
            await asyncio.sleep(wait)
            waited += wait


def _fingerprint_experts(choice: JudgeChoice) -> dict[str, str]:
    """Of expert and statement checker, where they are asked and lie in folders."""
    if not choice.with_experts:
        return {}
    statements = str(policy_folder()) if choice.statements == "shipped" else choice.statements
    names = [name for name in (choice.expert or str(expert_folder()), statements) if name]
    return {name: found for name in names if (found := fingerprint_weights(Path(name)))}


def _load_panel(choice: JudgeChoice) -> "ExpertPanel | None":
    if not choice.with_experts:
        return None
    from experts.grounding_dino import GroundingDino
    from experts.panel import ExpertPanel

    checkers = []
    if choice.statements is not None:
        from experts.likelihood_checker import LikelihoodChecker

        checkers.append(LikelihoodChecker.load(choice.statements))
    expert = GroundingDino.load(choice.expert or str(expert_folder()))
    return ExpertPanel([expert], checkers=checkers, timeout_seconds=600, max_statements=sys.maxsize)


def _checked(response: "httpx.Response", url: str) -> "httpx.Response":
    """The response if it is a success. A refusal of this comparison is told from one that all will meet."""
    if response.is_success:
        return response
    try:
        error = response.json()["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, param = "It gave no reason that this program knows.", None
    if response.status_code in {413, 415, 422} and (param is None or param in _ROW_FIELDS):
        raise InvalidComparisonError(message, param=param)
    raise EngineError(f"{url} refused (HTTP {response.status_code}): {message}")


def _is_without_keys(response: "httpx.Response") -> bool:
    """Whether a service refused a request because it has nowhere to keep answers."""
    return response.status_code == 404 and b'"no_database"' in response.content


def _read_retry_after(value: str | None, *, default: float) -> float:
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        return default
