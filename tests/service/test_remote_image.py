"""Fetching pictures: from listed hosts over real sockets, and never from anywhere else.

The site stands on 127.0.0.1, which plays a public address here, and the canary on 127.0.0.2, which stays what it is: no
test lets a connection reach it but the one that shows that it would notice.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from genrm.media import ImageLimits
from service.errors import RefusalError
from service.pinned_connection import PinnedBackend, Resolver
from service.public_address import is_public_address
from service.remote_image import ImageFetcher
from service.remote_url import parse_allowed_hosts

if TYPE_CHECKING:
    from tests.service.conftest import Answer, MakeImage, OpenSite, Site

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
NAME = "images.example.com"
LIMITS = ImageLimits(max_image_bytes=100_000)
REASONS = {
    "unreachable": "could not be reached",
    "late": "did not deliver it within",
    "broken": "broke off",
    "redirect": "redirects to where this service does not fetch from",
}


def answer_with(
    body: bytes = b"", *, status: str = "200 OK", headers: Sequence[str] = (), length: int | None = None
) -> bytes:
    """A whole HTTP response. length: what it declares, if not the body's."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def redirect_to(place: str) -> bytes:
    return answer_with(status="302 Found", headers=[f"Location: {place}"])


class Names:
    """A name service with few names, which notes what it is asked. A list of lists is a name that changes."""

    def __init__(self, **names: list[str] | list[list[str]]) -> None:
        self.lookups: list[str] = []
        self._names = {name.replace("_", "."): addresses for name, addresses in names.items()}

    async def __call__(self, host: str, port: int) -> list[str]:
        del port
        self.lookups.append(host)
        if host not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known, says 10.96.0.10")
        addresses = self._names[host]
        found = addresses.pop(0) if isinstance(addresses[0], list) else addresses
        return [str(address) for address in found]


def build(hosts: str, names: Names, **options: Any) -> ImageFetcher:
    chosen: dict[str, Any] = {
        "timeout_seconds": 20,
        "max_total_bytes": 10**6,
        "may_connect": lambda address: address == PUBLIC or is_public_address(address),
        **options,
    }
    return ImageFetcher(parse_allowed_hosts(hosts), resolve=names, **chosen)


async def fetch(fetcher: ImageFetcher, *urls: str, limits: ImageLimits = LIMITS) -> list[bytes]:
    try:
        images = [fetcher.check(url, f"images[{index}].url") for index, url in enumerate(urls)]
        return await fetcher.fetch_all(images, limits)
    finally:
        fetcher.close()


async def refuse(fetcher: ImageFetcher, *urls: str, code: str = "remote_image_failed", reason: str) -> str:
    """The message with which a fetch is refused; it tells nothing that the caller did not know."""
    with pytest.raises(RefusalError, match=REASONS.get(reason, reason)) as refusal:
        await fetch(fetcher, *urls)
    assert (refusal.value.code, refusal.value.param) == (code, "images[0].url")
    message = str(refusal.value)
    for secret in ("127.0", "169.254", "10.96", "::1", "refused by", "Errno", "httpcore", "SSL", "secret"):
        assert secret not in message
    assert refusal.value.__cause__ is None
    return message


@pytest.fixture
async def canary(open_site: OpenSite) -> AsyncIterator[Site]:
    """A server that only this machine should reach, and that must see no connection at all."""
    async with open_site(answer_with(b"secret"), address=PRIVATE) as site:
        yield site
        await asyncio.sleep(0.05)
        assert site.num_connections == 0


# What works


async def test_a_picture_of_a_listed_host_is_fetched(open_site: OpenSite, make_image: MakeImage) -> None:
    async with open_site({"/a.png?x=%20": answer_with(make_image())}) as site:
        names = Names(images_example_com=[PUBLIC])
        fetcher = build(f"http://{NAME}:{site.port}", names)
        assert await fetch(fetcher, f"http://{NAME}:{site.port}/a.png?x=%20#fragment") == [make_image()]
    assert names.lookups == [NAME]
    [head] = site.heads
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "get /a.png?x=%20 http/1.1"
    assert f"host: {NAME}:{site.port}" in lines
    assert {"accept-encoding: identity", "connection: close"} <= set(lines)
    assert not any(line.startswith(("cookie", "authorization", "referer", "proxy")) for line in lines)


async def test_pictures_of_a_request_are_fetched_side_by_side_and_kept_in_order(open_site: OpenSite) -> None:
    everybody_is_here = asyncio.Barrier(4)

    def answer_late(body: bytes) -> Answer:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await everybody_is_here.wait()
            writer.write(answer_with(body))

        return answer

    async with open_site({f"/{index}": answer_late(b"%d" % index) for index in range(4)}) as site:
        fetcher = build(f"http://{NAME}:{site.port}", Names(images_example_com=[PUBLIC]))
        urls = [f"http://{NAME}:{site.port}/{index}" for index in range(4)]
        assert await fetch(fetcher, *urls) == [b"0", b"1", b"2", b"3"]


async def test_requests_beyond_what_is_fetched_at_once_wait_their_turn(open_site: OpenSite) -> None:
    running = most = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        writer.write(answer_with(b"x"))

    async with open_site(answer) as site:
        fetcher = build(f"http://{NAME}:{site.port}", Names(images_example_com=[PUBLIC]))
        fetcher._places = asyncio.Semaphore(2)
        image = fetcher.check(f"http://{NAME}:{site.port}/", "image.url")
        await asyncio.gather(*(fetcher.fetch_all([image], LIMITS) for _ in range(6)))
    assert most == 2


async def test_three_redirects_are_followed(open_site: OpenSite) -> None:
    answers = {"/0": redirect_to("/1"), "/1": redirect_to("2?x"), "/2?x": redirect_to("//images.example.com:PORT/3")}
    async with open_site({**answers, "/3": answer_with(b"here")}) as site:
        answers["/2?x"] = redirect_to(f"//{NAME}:{site.port}/3")
    async with open_site({**answers, "/3": answer_with(b"here")}, port=site.port) as site:
        names = Names(images_example_com=[PUBLIC])
        assert await fetch(build(f"http://{NAME}:{site.port}", names), f"http://{NAME}:{site.port}/0") == [b"here"]
    assert names.lookups == [NAME] * 4  # every hop is checked anew


async def test_an_address_that_does_not_answer_leaves_the_others(open_site: OpenSite) -> None:
    async with open_site(answer_with(b"here")) as site:
        names = Names(images_example_com=["127.0.0.3", PUBLIC])
        fetcher = build(f"http://{NAME}:{site.port}", names, may_connect=lambda _: True)
        assert await fetch(fetcher, f"http://{NAME}:{site.port}/") == [b"here"]


async def test_of_a_host_with_many_addresses_four_are_tried(open_site: OpenSite) -> None:
    async with open_site(answer_with(b"here")) as site:
        names = Names(images_example_com=[*(f"127.0.0.{last}" for last in range(3, 7)), PUBLIC])
        fetcher = build(f"http://{NAME}:{site.port}", names, may_connect=lambda _: True)
        await refuse(fetcher, f"http://{NAME}:{site.port}/", reason="unreachable")
    assert site.num_connections == 0


# Certificates


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for `name`, signed by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    what = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    where = ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, "req", "-x509", *what, *where], check=True, capture_output=True)
    return certificate, key


def serve_as(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


async def test_https_asks_for_the_name_and_believes_only_a_certificate_for_it(
    open_site: OpenSite, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, NAME)
    wanted: list[str | None] = []
    server = serve_as(certificate)
    server.sni_callback = lambda _socket, name, _context: wanted.append(name)
    names = {"images_example_com": [PUBLIC], "other_example_com": [PUBLIC]}
    async with open_site(answer_with(b"here"), tls=server) as site:
        hosts = f"{NAME}:{site.port}, other.example.com:{site.port}"

        def build_trusting(trusted: str | None) -> ImageFetcher:
            tls = ssl.create_default_context(cafile=trusted) if trusted else None
            return build(hosts, Names(**names), tls=tls)

        url, other = f"https://{NAME}:{site.port}/", f"https://other.example.com:{site.port}/"
        assert await fetch(build_trusting(str(certificate[0])), url) == [b"here"]
        assert wanted == [NAME]
        await refuse(build_trusting(str(certificate[0])), other, reason="unreachable")
        await refuse(build_trusting(None), url, reason="unreachable")  # not one of the public authorities
    assert len(site.heads) == 1


async def test_a_redirect_from_https_to_http_is_followed_only_if_that_is_listed(
    open_site: OpenSite, canary: Site, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, NAME)
    place = f"http://{NAME}:{canary.port}/"
    async with open_site(redirect_to(place), tls=serve_as(certificate)) as site:
        tls = ssl.create_default_context(cafile=str(certificate[0]))
        fetcher = build(
            f"{NAME}:{site.port},{NAME}:{canary.port}", Names(images_example_com=[[PUBLIC], [PRIVATE]]), tls=tls
        )
        await refuse(fetcher, f"https://{NAME}:{site.port}/", reason="redirect")


# Where no connection may go (CVE-2025-6242, CVE-2026-34753: requests forged through the URL of a picture)


async def test_the_canary_would_notice(open_site: OpenSite) -> None:
    async with open_site(answer_with(b"secret"), address=PRIVATE) as canary:
        fetcher = build(f"http://{NAME}:{canary.port}", Names(images_example_com=[PRIVATE]), may_connect=lambda _: True)
        assert await fetch(fetcher, f"http://{NAME}:{canary.port}/") == [b"secret"]
    assert canary.num_connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.2:PORT/",
        "http://2130706434:PORT/",
        "http://0x7f000002:PORT/",
        "http://0177.0.0.2:PORT/",
        "http://127.2:PORT/",
        "http://[::1]:PORT/",
        "http://[::ffff:127.0.0.2]:PORT/",
        "http://[fe80::1%25lo]:PORT/",
        "http://localhost:PORT/",
        "http://images.example.com@127.0.0.2:PORT/",
        "http://images.example.com:PORT@127.0.0.2:PORT/",
        "http://user:secret@images.example.com:PORT/",
        "http://127.0.0.2:PORT#@images.example.com:PORT/",
        "http://127.0.0.2:PORT\\@images.example.com:PORT/",
        "http:/\\127.0.0.2:PORT/",
        "http:\\\\images.example.com:PORT/",
        "http:images.example.com:PORT/",
        "http:///127.0.0.2:PORT/",
        "http://:PORT/",
        "http://images.example.com:0/",
        "http://images.example.com.:PORT/",
        "http://images.example.com\t:PORT/",
        "http://images.example.com:PORT/\r\nX: y",
        "http://images.example.com\0.evil.example:PORT/",
        "http://images。example。com:PORT/",
        "http://ımages.example.com:PORT/",
        "http://images.example.com:PORT/" + "a" * 3_000,
        "https://images.example.com:PORT/",
        "http://images.example.com/",
        "http://evil.example.com:PORT/",
        "http://127.0.0.2.nip.io:PORT/",
    ],
)
async def test_a_url_that_is_not_allowed_is_neither_resolved_nor_connected_to(canary: Site, url: str) -> None:
    names = Names(images_example_com=[PRIVATE], localhost=[PRIVATE])
    fetcher = build(f"http://{NAME}:{canary.port}", names, may_connect=lambda _: True)
    url = url.replace("PORT", str(canary.port))
    with pytest.raises(RefusalError, match=r"GENRM_IMAGE_HOSTS|not of a form that is fetched") as refusal:
        await fetch(fetcher, "http://" + f"{NAME}:{canary.port}/", url)  # the good one is not fetched either
    assert (refusal.value.code, refusal.value.param) == ("remote_image_refused", "images[1].url")
    assert "secret" not in str(refusal.value)
    assert names.lookups == []


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.2:CANARY/",
        "//127.0.0.2:CANARY/",
        "http://169.254.169.254/latest/meta-data/iam/",
        "http://[::ffff:127.0.0.2]:CANARY/",
        "http://2130706434:CANARY/",
        "http://localhost:CANARY/",
        "http://secret.internal:CANARY/",
        "http://images.example.com:CANARY/",
        "http://images.example.com@127.0.0.2:CANARY/",
        "http://127.0.0.2:CANARY\\@images.example.com/",
        "\\\\127.0.0.2:CANARY\\",
        "file:///etc/hostname",
        "gopher://127.0.0.2:CANARY/",
        "data:image/png;base64,AAAA",
        "http://images.example.com:CANARY /",
    ],
)
async def test_a_redirect_to_where_nothing_is_fetched_from_is_not_followed(
    open_site: OpenSite, canary: Site, place: str
) -> None:
    async with open_site(redirect_to(place.replace("CANARY", str(canary.port)))) as site:
        names = Names(images_example_com=[PUBLIC], secret_internal=[PRIVATE], localhost=[PRIVATE])
        message = await refuse(
            build(f"http://{NAME}:{site.port}", names), f"http://{NAME}:{site.port}/", reason="redirect"
        )
    assert names.lookups == [NAME]
    assert str(canary.port) not in message


async def test_a_redirect_to_a_listed_host_with_a_private_address_is_not_followed(
    open_site: OpenSite, canary: Site
) -> None:
    async with open_site(redirect_to(f"http://secret.example.com:{canary.port}/")) as site:
        names = Names(images_example_com=[PUBLIC], secret_example_com=[PRIVATE])
        fetcher = build(f"http://{NAME}:{site.port}, http://*.example.com:{canary.port}", names)
        message = await refuse(fetcher, f"http://{NAME}:{site.port}/", reason="unreachable")
    assert message.startswith(f"The image's host {NAME} ")


@pytest.mark.parametrize(
    "addresses", [[PRIVATE], [PUBLIC, PRIVATE], [PRIVATE, PUBLIC], ["8.8.8.8", "::1"], ["8.8.8.8", "::ffff:127.0.0.2"]]
)
async def test_one_address_that_is_not_public_is_one_too_many(canary: Site, addresses: list[str]) -> None:
    fetcher = build(f"http://{NAME}:{canary.port}", Names(images_example_com=addresses))
    await refuse(fetcher, f"http://{NAME}:{canary.port}/", reason="unreachable")


async def test_without_anything_injected_this_machine_is_not_reached(
    open_site: OpenSite, caplog: pytest.LogCaptureFixture
) -> None:
    """The system's own name service and the real rule for addresses."""
    async with open_site(answer_with(b"secret")) as canary:
        fetcher = ImageFetcher(
            parse_allowed_hosts(f"http://localhost:{canary.port}"), timeout_seconds=20, max_total_bytes=10**6
        )
        await refuse(fetcher, f"http://localhost:{canary.port}/", reason="unreachable")
    assert canary.num_connections == 0
    assert not any("127.0" in record.getMessage() or "::1" in record.getMessage() for record in caplog.records)


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_found(
    open_site: OpenSite, canary: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: a second answer would lead to the canary, which has the same port."""

    def resolve_again(*_: object, **__: object) -> list[object]:
        raise AssertionError

    async with open_site(answer_with(b"here"), port=canary.port) as site:
        monkeypatch.setattr(socket, "getaddrinfo", resolve_again)
        names = Names(images_example_com=[[PUBLIC], [PRIVATE]])
        assert await fetch(build(f"http://{NAME}:{site.port}", names), f"http://{NAME}:{site.port}/") == [b"here"]
    assert names.lookups == [NAME]


async def test_a_name_that_changes_between_two_hops_is_checked_anew(open_site: OpenSite, canary: Site) -> None:
    async with open_site(redirect_to("/again"), port=canary.port) as site:
        names = Names(images_example_com=[[PUBLIC], [PRIVATE]])
        await refuse(build(f"http://{NAME}:{site.port}", names), f"http://{NAME}:{site.port}/", reason="unreachable")
    assert names.lookups == [NAME] * 2


async def test_proxies_of_the_environment_are_not_used(
    open_site: OpenSite, canary: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://{PRIVATE}:{canary.port}")
    async with open_site(answer_with(b"here")) as site:
        fetcher = build(f"http://{NAME}:{site.port}", Names(images_example_com=[PUBLIC]))
        assert await fetch(fetcher, f"http://{NAME}:{site.port}/") == [b"here"]


async def test_a_cookie_is_not_sent_back(open_site: OpenSite) -> None:
    first = answer_with(status="302 Found", headers=["Location: /b", "Set-Cookie: a=b; Path=/"])
    async with open_site({"/a": first, "/b": answer_with(b"here")}) as site:
        fetcher = build(f"http://{NAME}:{site.port}", Names(images_example_com=[PUBLIC]))
        assert await fetch(fetcher, f"http://{NAME}:{site.port}/a") == [b"here"]
    assert len(site.heads) == 2
    assert b"cookie" not in site.heads[1].lower()


async def test_unknown_internal_and_silent_hosts_cannot_be_told_apart(
    canary: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind((PUBLIC, 0))  # bound and not listening: nobody answers there
        hosts = f"http://*.example.com:{canary.port}, http://*.example.com:{unused.getsockname()[1]}"
        names = {"internal_example_com": [PRIVATE], "silent_example_com": [PUBLIC]}
        told = set()
        caplog.set_level(logging.INFO)
        for name, port in (("unknown", 80), ("internal", canary.port), ("silent", unused.getsockname()[1])):
            fetcher = build(f"{hosts}, http://*.example.com", Names(**names))
            message = await refuse(fetcher, f"http://{name}.example.com:{port}/", reason="unreachable")
            told.add(message.replace(name, ""))
    assert len(told) == 1
    assert [record.getMessage() for record in caplog.records if record.name == "service.remote_image"] == [
        "internal.example.com has an address that is not public; no image is fetched from there"
    ]


def test_a_pinned_connection_knows_no_other_way() -> None:
    with pytest.raises(Exception, match=r"^$"):
        asyncio.run(PinnedBackend([PUBLIC]).connect_unix_socket("/run/docker.sock"))


async def test_names_are_absolute_so_that_no_search_list_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in ("8.8.8.8", "8.8.4.4", "8.8.8.8")]

    monkeypatch.setattr(socket, "getaddrinfo", note)
    resolver = Resolver()
    assert await resolver(NAME, 443) == ["8.8.8.8", "8.8.4.4"]
    resolver.close()
    assert asked == [f"{NAME}."]
