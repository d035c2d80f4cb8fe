"""URLs of remote pictures, and the hosts that they may name.

Two programs that read one URL differently are how a check sees one host and a connection goes to another. So there is
one strict rule: what does not match it is refused, never repaired, and what matches is used in the parts found here,
never as text again. The rule has no user names, no addresses in the place of names, no international names (they are
written `xn--…`), no signs that RFC 3986 does not know. Nothing is resolved here.
"""

import re
from dataclasses import dataclass
from urllib.parse import urljoin

from service.errors import StartError

MAX_URL_CHARACTERS = 2_048
_MAX_NAME_CHARACTERS = 253
_DEFAULT_PORTS = {"https": 443, "http": 80}
_MAX_PORT = 65_535

# re.ASCII everywhere: without it, re.IGNORECASE takes the Kelvin sign for a k.
_FLAGS = re.IGNORECASE | re.ASCII
_SIGNS = r"[\w.~!$&'()*+,;=:@/?%-]*"
_URL = re.compile(rf"(https?)://([a-z0-9.-]+)(?::([1-9]\d{{0,4}}))?([/?]{_SIGNS})?(?:#{_SIGNS})?", _FLAGS)
_REFERENCE = re.compile(rf"{_SIGNS}(?:#{_SIGNS})?", _FLAGS)
_ENTRY = re.compile(r"(?:(https?)://)?(\*\.)?([a-z0-9.-]+)(?::([1-9]\d{0,4}))?", _FLAGS)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
"""A last label that makes some programs read the whole name as an IPv4 address: decimal, octal or hexadecimal."""
_REMOTE = re.compile(r"https?:", _FLAGS)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteUrl:
    """Where a picture lies. host: a name in lower case. target: path and query, as they are sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and, unless it is the scheme's own, port."""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def is_remote(url: str) -> bool:
    """Whether `url` asks for something to be fetched, well formed or not."""
    return _REMOTE.match(url) is not None


def parse_remote_url(url: str) -> RemoteUrl | None:
    """The parts of `url`, without its fragment; None if it is not exactly of the allowed form."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL_CHARACTERS else None
    if match is None:
        return None
    scheme, host, target = match[1].lower(), match[2].lower(), match[4] or "/"
    port = _DEFAULT_PORTS[scheme] if match[3] is None else int(match[3])
    if port > _MAX_PORT or not _is_name(host):
        return None
    return RemoteUrl(scheme=scheme, host=host, port=port, target=target if target[0] == "/" else f"/{target}")


def follow_reference(start: RemoteUrl, reference: str) -> RemoteUrl | None:
    """Where a redirect leads. reference: a `Location`, absolute or relative to `start`. None if it is not exactly of
    the allowed form.
    """
    if not 0 < len(reference) <= MAX_URL_CHARACTERS or not _REFERENCE.fullmatch(reference):
        return None
    return parse_remote_url(urljoin(start.origin + start.target, reference))


def _is_name(host: str) -> bool:
    """Whether `host`, in lower case, is a name that no program takes for an address."""
    labels = host.split(".")
    return (
        len(host) <= _MAX_NAME_CHARACTERS
        and all(_LABEL.fullmatch(label) for label in labels)
        and not _NUMBER.fullmatch(labels[-1])
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AllowedHosts:
    """Which hosts pictures may be fetched from: scheme, name and port of each. As a truth value: whether any."""

    names: frozenset[tuple[str, str, int]] = frozenset()
    domains: frozenset[tuple[str, str, int]] = frozenset()
    """Those whose sub-domains are meant, of any depth, and not they themselves."""

    def __bool__(self) -> bool:
        """Whether anything can be fetched at all."""
        return bool(self.names or self.domains)

    def allow(self, url: RemoteUrl) -> bool:
        """Whether `url` is on one of them."""
        labels = url.host.split(".")
        parents = (".".join(labels[start:]) for start in range(1, len(labels)))
        return (url.scheme, url.host, url.port) in self.names or any(
            (url.scheme, parent, url.port) in self.domains for parent in parents
        )


def parse_allowed_hosts(setting: str) -> AllowedHosts:
    """The hosts of `GENRM_IMAGE_HOSTS`: entries `[http://][*.]name[:port]`, separated by commas; without `http://`,
    https is meant. Raises StartError for anything else.
    """
    names: set[tuple[str, str, int]] = set()
    domains: set[tuple[str, str, int]] = set()
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        match = _ENTRY.fullmatch(entry)
        scheme, host = (match[1] or "https").lower() if match else "https", match[3].lower() if match else ""
        port = int(match[4]) if match and match[4] else _DEFAULT_PORTS[scheme]
        is_domain = match is not None and match[2] is not None
        if not _is_name(host) or port > _MAX_PORT or (is_domain and "." not in host):
            raise StartError(
                f"GENRM_IMAGE_HOSTS is {setting!r}; {entry!r} is no host. Allowed are names (images.example.com, or "
                "*.example.com for its sub-domains), with :PORT if it is another one, and with http:// before those "
                "that have no https, separated by commas; no addresses, no paths, and nothing as wide as *.com."
            )
        (domains if is_domain else names).add((scheme, host, port))
    return AllowedHosts(names=frozenset(names), domains=frozenset(domains))
