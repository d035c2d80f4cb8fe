"""The same judgement for a terminal and for Python, ready to be copied. Texts are quoted, so they paste as they are."""

import shlex
from dataclasses import dataclass

from service.playground.mount import PATH


@dataclass(frozen=True, kw_only=True)
class Call:
    """A judgement as the page asked for it. url: of the service. image: the file's name. needs_key: whether the service
    wants an API key, which the snippets take from GENRM_API_KEY.
    """

    url: str
    image: str
    question: str
    response_a: str
    response_b: str
    needs_key: bool


def write_curl(call: Call) -> str:
    """A shell command."""
    lines = [f"curl -s {shlex.quote(call.url + '/v1/judge')}"]
    if call.needs_key:
        lines.append('-H "Authorization: Bearer $GENRM_API_KEY"')
    lines.append(f"-F {shlex.quote('image=@' + _quote_form(call.image))}")
    texts = {"question": call.question, "response_a": call.response_a, "response_b": call.response_b}
    lines += [f"--form-string {shlex.quote(f'{name}={text}')}" for name, text in texts.items()]  # takes @ and < as text
    return " \\\n  ".join(lines)


def write_python(call: Call) -> str:
    """A Python program."""
    key = ', api_key=os.environ["GENRM_API_KEY"]' if call.needs_key else ""
    return (
        ("import os\n\n" if call.needs_key else "")
        + "from service.client import Client\n\n"
        + f"with Client({call.url!r}{key}) as client:\n"
        + "    verdict = client.judge(\n"
        + f"        {call.image!r},\n"
        + f"        question={call.question!r},\n"
        + f"        a={call.response_a!r},\n"
        + f"        b={call.response_b!r},\n"
        + "    )\n"
        + "print(verdict.preferred, verdict.probabilities, verdict.critique)"
    )


def _quote_form(name: str) -> str:
    """A file's name for curl's -F, where commas and semicolons mean something."""
    if not set(name) & set(',;"'):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def find_service_url(page_url: str) -> str:
    """Where the service of a page lies. page_url: where the page itself lies, on a host of any name and below any
    prefix of a proxy's.
    """
    return page_url.rstrip("/").removesuffix(PATH).rstrip("/")
