"""Fetching pictures from hosts that answer badly: too late, too much, too often elsewhere, or not in HTTP."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import pytest

from genrm.media import ImageLimits
from service.errors import RefusalError
from service.intake import Picture, decode_pictures
from service.remote_image import ImageFetcher
from service.remote_url import parse_allowed_hosts

if TYPE_CHECKING:
    from tests.service.conftest import Answer, MakeImage, OpenSite, Site

NAME = "images.example.com"
LIMITS = ImageLimits(max_image_bytes=100_000)


async def resolve_here(host: str, port: int) -> list[str]:
    del host, port
    return ["127.0.0.1"]


def build(site: Site, **options: Any) -> ImageFetcher:
    chosen: dict[str, Any] = {"timeout_seconds": 20, "max_total_bytes": 150_000, "resolve": resolve_here, **options}
    hosts = parse_allowed_hosts(f"http://{NAME}:{site.port}, {NAME}:{site.port}")
    return ImageFetcher(hosts, may_connect=lambda _: True, **chosen)


async def refuse(
    site: Site, reason: str, *, code: str = "remote_image_failed", scheme: str = "http", **options: Any
) -> None:
    """What the site sends is refused, for `reason` and without the words of a library."""
    fetcher = build(site, **options)
    picture = Picture(param="image.url", content=f"{scheme}://{NAME}:{site.port}/a")
    with pytest.raises(RefusalError, match=reason) as refusal:
        await decode_pictures([picture], limits=LIMITS, fetcher=fetcher)
    fetcher.close()
    assert (refusal.value.code, refusal.value.param) == (code, "image.url")
    assert "127.0" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def reply(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "", "")).encode() + body


def send_forever(start: bytes, piece: bytes, *, pause_seconds: float = 0) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return answer


# Too late


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", reply(b"", "Content-Length: 1000")])
async def test_a_host_that_sends_byte_by_byte_is_left_when_the_time_is_over(open_site: OpenSite, start: bytes) -> None:
    async with open_site(send_forever(start, b"x", pause_seconds=0.02)) as site:
        await refuse(site, r"within 0\.3 s \(GENRM_IMAGE_FETCH_TIMEOUT_SECONDS\)", timeout_seconds=0.3)


async def test_a_host_that_always_says_wait_is_left_when_the_time_is_over(open_site: OpenSite) -> None:
    async with open_site(send_forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20)) as site:
        await refuse(site, r"within 0\.3 s", timeout_seconds=0.3)


async def test_the_time_is_that_of_all_hops_together(open_site: OpenSite) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(reply(b"", "Location: /a", "Content-Length: 0", status="302 Found"))

    async with open_site(answer) as site:
        await refuse(site, r"within 0\.5 s", timeout_seconds=0.5)
    assert site.num_connections == 2


async def test_looking_up_a_host_takes_of_the_same_time(open_site: OpenSite) -> None:
    async def hang(host: str, port: int) -> list[str]:
        del host, port
        await asyncio.Event().wait()
        return []

    async with open_site(reply()) as site:
        await refuse(site, r"within 0\.1 s", timeout_seconds=0.1, resolve=hang)


async def test_a_handshake_that_never_ends_takes_of_the_same_time(open_site: OpenSite) -> None:
    async with open_site(reply()) as site:  # which waits for a request, as the client does for a handshake
        await refuse(site, r"within 0\.2 s", timeout_seconds=0.2, scheme="https")


async def test_the_deadline_of_a_request_ends_its_fetches(open_site: OpenSite) -> None:
    is_closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        is_closed.set()

    async with open_site(answer) as site:
        fetcher = build(site)
        images = [fetcher.check(f"http://{NAME}:{site.port}/", "image.url")] * 3
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await fetcher.fetch_all(images, LIMITS)
        async with asyncio.timeout(20):
            await is_closed.wait()


async def test_when_one_picture_fails_the_others_are_dropped(open_site: OpenSite) -> None:
    is_asked, is_closed = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        is_asked.set()
        await reader.read()
        is_closed.set()

    async def fail(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_asked.wait()
        writer.write(reply(b"", "Content-Length: 0", status="404 Not Found"))

    async with open_site({"/0": hang, "/1": fail}) as site:
        fetcher = build(site)
        images = [fetcher.check(f"http://{NAME}:{site.port}/{index}", f"images[{index}].url") for index in range(2)]
        with pytest.raises(RefusalError, match="status 404") as refusal:
            await fetcher.fetch_all(images, LIMITS)
        assert refusal.value.param == "images[1].url"
        async with asyncio.timeout(20):
            await is_closed.wait()


# Too much


async def test_a_length_over_the_limit_is_refused_before_the_body_is_read(open_site: OpenSite) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(b"", "Content-Length: 99999999999"))
        await reader.read()  # never sends any of it

    async with open_site(answer) as site:
        await refuse(site, "more than 100,000 bytes.*GENRM_MAX_IMAGE_BYTES", code="image_too_large")


@pytest.mark.parametrize(
    ("header", "piece"),
    [
        ("Transfer-Encoding: chunked", b"2000\r\n" + b"x" * 0x2000 + b"\r\n"),
        ("Connection: close", b"x" * 8192),
    ],
)
async def test_a_body_without_end_is_read_up_to_the_limit(open_site: OpenSite, header: str, piece: bytes) -> None:
    async with open_site(send_forever(reply(b"", header), piece)) as site:
        await refuse(site, "more than 100,000 bytes", code="image_too_large")


async def test_a_body_of_exactly_the_limit_is_read(open_site: OpenSite) -> None:
    async with open_site(reply(b"x" * 100_000, "Content-Length: 100000")) as site:
        fetcher = build(site)
        [body] = await fetcher.fetch_all([fetcher.check(f"http://{NAME}:{site.port}/", "image.url")], LIMITS)
    assert len(body) == 100_000


async def test_all_pictures_of_a_request_share_one_limit(open_site: OpenSite) -> None:
    async with open_site(reply(b"x" * 80_000, "Content-Length: 80000")) as site:
        fetcher = build(site)
        image = fetcher.check(f"http://{NAME}:{site.port}/", "image.url")
        with pytest.raises(RefusalError, match=r"150,000 bytes together.*GENRM_MAX_BODY_BYTES") as refusal:
            await fetcher.fetch_all([image] * 2, LIMITS)
        assert refusal.value.code == "image_too_large"
        assert len(await fetcher.fetch_all([image], LIMITS)) == 1  # the next request has its own


async def test_a_body_in_tiny_pieces_is_refused_unless_it_is_small(open_site: OpenSite) -> None:
    def cut(num_pieces: int, piece: bytes) -> bytes:
        body = b"%x\r\n%b\r\n" % (len(piece), piece) * num_pieces + b"0\r\n\r\n"
        return reply(body, "Transfer-Encoding: chunked")

    async with open_site(cut(2_000, b"x")) as site:
        await refuse(site, "in pieces of less than 256 bytes")
    for num_pieces, piece in ((900, b"x"), (300, b"x" * 300)):
        async with open_site(cut(num_pieces, piece)) as site:
            fetcher = build(site)
            [body] = await fetcher.fetch_all([fetcher.check(f"http://{NAME}:{site.port}/", "image.url")], LIMITS)
        assert body == piece * num_pieces


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (["Content-Encoding: gzip"], "content coding"),
        (["Content-Encoding: GZIP, identity"], "content coding"),
        (["Content-Encoding: identity", "Content-Encoding: br"], "content coding"),
        (["Transfer-Encoding: gzip, chunked"], "broke off"),
    ],
)
async def test_a_compressed_body_is_refused(open_site: OpenSite, headers: list[str], reason: str) -> None:
    """A few kB could become GB: a decompression bomb."""
    body = gzip.compress(b"\0" * 1_000_000)
    async with open_site(reply(body, *headers, f"Content-Length: {len(body)}")) as site:
        await refuse(site, reason)


# Not what was asked for


@pytest.mark.parametrize(
    "status",
    [
        "404 Not Found",
        "403 Forbidden",
        "500 Oops",
        "204 No Content",
        "206 Partial Content",
        "304 Not Modified",
    ],
)
async def test_a_status_other_than_200_is_told(open_site: OpenSite, status: str) -> None:
    async with open_site(reply(b"", "Content-Length: 0", status=status)) as site:
        await refuse(site, f"answered with status {status[:3]}; 200 is needed")


async def test_a_redirect_to_itself_ends(open_site: OpenSite) -> None:
    async with open_site(reply(b"", "Location: /a", "Content-Length: 0", status="301 Moved")) as site:
        await refuse(site, "redirects more than 3 times")
    assert site.num_connections == 4


async def test_a_redirect_to_nowhere_is_refused_at_once(open_site: OpenSite) -> None:
    async with open_site(reply(b"", "Content-Length: 0", status="302 Found")) as site:
        await refuse(site, "redirects to where this service does not fetch from")
    assert site.num_connections == 1


async def test_a_redirect_without_end_of_its_body_is_followed_at_once(open_site: OpenSite) -> None:
    start = reply(b"", "Location: /a", "Transfer-Encoding: chunked", status="301 Moved")
    async with open_site(send_forever(start, b"4\r\nxxxx\r\n")) as site:
        await refuse(site, "redirects more than 3 times")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6 at 127.0.0.1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ncut short",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nrubbish",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 500_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_an_answer_that_is_broken_is_refused_without_the_library_s_words(
    open_site: OpenSite, answer: bytes
) -> None:
    """CVE-2026-22778: the text of a library's error told an address."""
    async with open_site(answer) as site:
        await refuse(site, "broke off, or answered with what is not HTTP")


async def test_plain_http_on_a_port_for_https_is_a_host_out_of_reach(open_site: OpenSite) -> None:
    async with open_site(reply(b"", "Content-Length: 0"), first_bytes=b"220 127.0.0.1 ready\r\n") as site:
        await refuse(site, "could not be reached", scheme="https")


async def test_the_content_decides_what_a_file_is_and_not_its_type_or_name(
    open_site: OpenSite, make_image: MakeImage
) -> None:
    answers: dict[str, Answer] = {
        "/a.png": reply(b"<html>", "Content-Type: image/png", "Content-Length: 6"),
        "/b.html": reply(make_image(), "Content-Type: text/html", f"Content-Length: {len(make_image())}"),
    }
    async with open_site(answers) as site:
        fetcher = build(site)
        pictures = [Picture(param=path, content=f"http://{NAME}:{site.port}{path}") for path in answers]
        with pytest.raises(RefusalError, match="no PNG, JPEG, WebP or GIF") as refusal:
            await decode_pictures(pictures, limits=LIMITS, fetcher=fetcher)
        assert (refusal.value.code, refusal.value.param) == ("invalid_image", "/a.png")
        [picture] = await decode_pictures(pictures[1:], limits=LIMITS, fetcher=fetcher)
        assert picture.size == (48, 36)


async def test_fetched_and_sent_pictures_keep_their_order_and_their_limits(
    open_site: OpenSite, make_image: MakeImage
) -> None:
    small, large = make_image(size=(30, 30)), make_image(size=(60, 60))
    async with open_site(reply(large, f"Content-Length: {len(large)}")) as site:
        fetcher = build(site)
        remote = Picture(param="remote", content=f"http://{NAME}:{site.port}/")
        here = Picture(param="here", content=small)
        pictures = await decode_pictures([here, remote, here], limits=LIMITS, fetcher=fetcher)
        assert [picture.size for picture in pictures] == [(30, 30), (60, 60), (30, 30)]
        with pytest.raises(RefusalError) as refusal:
            await decode_pictures([here, remote], limits=ImageLimits(max_image_pixels=1_000), fetcher=fetcher)
        assert (refusal.value.code, refusal.value.param) == ("image_too_large", "remote")


async def test_nothing_is_fetched_when_another_picture_is_refused_anyway(open_site: OpenSite) -> None:
    async with open_site(reply()) as site:
        remote = Picture(param="remote", content=f"http://{NAME}:{site.port}/")
        for content in ("data:image/png;base64,***", "https://evil.example/", "ftp://a"):
            with pytest.raises(RefusalError) as refusal:
                await decode_pictures(
                    [remote, Picture(param="bad", content=content)], limits=LIMITS, fetcher=build(site)
                )
            assert refusal.value.param == "bad"
    assert site.num_connections == 0
