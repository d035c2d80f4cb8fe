"""The judge as OpenRLHF's custom reward function: a file for `--reward.remote_url`.

    --reward.remote_url service/openrlhf_reward.py

It sends what it is given to `POST /v1/rewards/openrlhf` and returns tensors. Over the plain URL it has two advantages:
it can bring an API key, which OpenRLHF's requests cannot, and it works with versions (0.8) that expect tensors. It
needs torch and the standard library only, so that this one file can be copied to where the trainer runs.

The variables GENRM_REWARD_URL (with options as a query, `…/v1/rewards/openrlhf?mode=fast`) and GENRM_API_KEY are read
where the trainer runs; they are no settings of the service.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import torch

DEFAULT_URL = "http://127.0.0.1:8000/v1/rewards/openrlhf"
_TIMEOUT_SECONDS = 600.0


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: object) -> dict[str, Any]:
    """Rewards, scores and logs of completions, a value per row.

    queries: prompts with their completions. labels: with the image and, for OpenRLHF from 0.9.1 on, a reference answer;
    see `docs/design/best-of-n.md`. Raises RuntimeError with the service's message if it refuses, and OSError if it
    cannot be reached.
    """
    body = {"query": list(queries), "prompts": list(prompts), "labels": list(labels)}
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("GENRM_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    url = os.environ.get("GENRM_REWARD_URL", DEFAULT_URL)
    if not url.startswith(("http://", "https://")):
        raise RuntimeError(f"GENRM_REWARD_URL is {url!r}; it must begin with http:// or https://. Correct it.")
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - the same
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"The judge answered {error.code}: {error.read().decode(errors='replace')}") from error
    return {
        "rewards": torch.tensor(answer["rewards"]),
        "scores": torch.tensor(answer["scores"]),
        "extra_logs": {name: torch.tensor(values) for name, values in answer.get("extra_logs", {}).items()},
    }
