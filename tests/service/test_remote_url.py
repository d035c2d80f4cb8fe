"""Which URLs count as remote pictures, which hosts and which addresses are allowed. Nothing is connected to here."""

import ipaddress
import string
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import StartError
from service.public_address import is_public_address
from service.remote_url import (
    AllowedHosts,
    RemoteUrl,
    follow_reference,
    is_remote,
    parse_allowed_hosts,
    parse_remote_url,
)

ALLOWED = parse_allowed_hosts("images.example.com, *.cdn.example.net, http://plain.example.com, odd.example.com:8443")

ODD_URLS = [
    "https://images.example.com@evil.example/",
    "https://user:pass@images.example.com/",
    "https://:@images.example.com/",
    "https://@images.example.com/",
    "https://evil.example#@images.example.com/",
    "https://evil.example?@images.example.com/",
    "https://evil.example\\@images.example.com/",
    "https://evil.example\\.images.example.com/",
    "https:\\\\images.example.com/",
    "https:/\\images.example.com/",
    "https:/images.example.com/",
    "https:images.example.com/",
    "https:///images.example.com/",
    "https:////images.example.com/",
    "https://",
    "https:///",
    "https://:443/",
    "https://images.example.com./",
    "https://images.example.com../",
    "https://images..example.com/",
    "https://.images.example.com/",
    "https://-images.example.com/",
    "https://images.example.com:0/",
    "https://images.example.com:/",
    "https://images.example.com:0443/",
    "https://images.example.com:65536/",
    "https://images.example.com:99999999999999999999/",
    "https://images.example.com:443:80/",
    "https://images.example.com:+443/",
    "https://images.example.com:４４３/",
    "https://images.example.com:443@evil.example/",
    "https://images.example.com%2eevil.example/",
    "https://images%2eexample.com/",
    "https://images.example.com%00.evil.example/",
    "https://images.example.com\0.evil.example/",
    "https://images.example.com\n.evil.example/",
    "https://images.example.com\t/",
    "https://images.example.com /",
    " https://images.example.com/",
    "https://images.example.com/\n",
    "https://images.example.com/a b",
    "https://images.example.com/\r\nHost: evil.example",
    "https://images.example.com/é.png",
    "https://images.example.com/a\\b",
    "https://images.example.com/#a#b",
    "https://images.example。com/",
    "https://images.example．com/",
    "https://ｉmages.example.com/",
    "https://ımages.example.com/",
    "https://images.example.com\u200b/",
    "httpſ://images.example.com/",
    "https://images.example.com\u2024evil.example/",
    "https://bücher.example/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0X7F.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1/",
    "https://127.0.0.1.:80/",
    "https://169.254.169.254/latest/meta-data/",
    "https://1.1.1.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[images.example.com]/",
    "https://::1/",
    "https://images.example.com/" + "a" * 2_048,
    "https://" + "a" * 64 + ".example.com/",
    "https://" + "a." * 130 + "com/",
    "ftp://images.example.com/",
    "file:///etc/hostname",
    "//images.example.com/",
    "images.example.com",
    "",
]


@pytest.mark.parametrize("url", ODD_URLS)
def test_a_url_that_programs_may_read_differently_is_none(url: str) -> None:
    parsed = parse_remote_url(url)
    assert parsed is None or not ALLOWED.allow(parsed)  # whichever host a lenient reader finds first


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target"),
    [
        ("https://images.example.com", "https", "images.example.com", 443, "/"),
        ("HTTPS://Images.EXAMPLE.com/A.png", "https", "images.example.com", 443, "/A.png"),
        ("http://a.example:8080/a/b.png?size=1&x=%20", "http", "a.example", 8080, "/a/b.png?size=1&x=%20"),
        ("https://a.example?x=1", "https", "a.example", 443, "/?x=1"),
        ("https://a.example/a?b=//c@d:1#top", "https", "a.example", 443, "/a?b=//c@d:1"),
        ("https://a.example#top", "https", "a.example", 443, "/"),
        ("https://xn--bcher-kva.example/", "https", "xn--bcher-kva.example", 443, "/"),
        ("https://a.example:65535/", "https", "a.example", 65_535, "/"),
    ],
)
def test_a_url_of_the_allowed_form_is_taken_apart(url: str, scheme: str, host: str, port: int, target: str) -> None:
    assert parse_remote_url(url) == RemoteUrl(scheme=scheme, host=host, port=port, target=target)


_URL_SIGNS = st.text(alphabet=string.ascii_letters + string.digits + "./:@?#\\%[]-_ \t\n\0é。ſ", max_size=30)


@given(
    st.sampled_from(["https://", "http://", "https:", "HTTP:/"]), _URL_SIGNS, st.sampled_from(["", "/", "/a", "@b/"])
)
@example("https://", "images.example.com", "@b/")
def test_other_parsers_agree_about_every_url_that_is_accepted(start: str, middle: str, end: str) -> None:
    url = start + middle + end
    parsed = parse_remote_url(url)
    if parsed is None:
        return
    theirs, default = urlsplit(url), {"https": 443, "http": 80}[parsed.scheme]
    assert (theirs.scheme, theirs.hostname, theirs.port or default) == (parsed.scheme, parsed.host, parsed.port)
    assert theirs.username is None
    other = httpx.URL(url)
    assert (other.scheme, other.host, other.port or default) == (parsed.scheme, parsed.host, parsed.port)
    assert not other.userinfo


@given(st.text(max_size=80) | _URL_SIGNS)
def test_whatever_is_accepted_holds_nothing_that_could_end_a_line_of_http(text: str) -> None:
    for parsed in (parse_remote_url(text), parse_remote_url(f"https://{text}"), parse_remote_url(f"https://a/{text}")):
        if parsed is not None:
            assert set(parsed.host) <= set(string.ascii_lowercase + string.digits + "-.")
            assert parsed.target.startswith("/")
            assert all("!" <= sign <= "~" for sign in parsed.target)
            assert "#" not in parsed.target


@given(st.text(max_size=60) | _URL_SIGNS)
@example("//[")
@example("https://[::1")
def test_a_redirect_leads_nowhere_or_to_a_url_of_the_allowed_form(reference: str) -> None:
    start = RemoteUrl(scheme="https", host="images.example.com", port=443, target="/a/b?c")
    found = follow_reference(start, reference)
    assert found is None or parse_remote_url(found.origin + found.target) == found


@pytest.mark.parametrize(
    ("reference", "origin", "target"),
    [
        ("/d.png", "https://images.example.com", "/d.png"),
        ("d.png", "https://images.example.com", "/a/d.png"),
        ("../d.png?x#y", "https://images.example.com", "/d.png?x"),
        ("//evil.example/d.png", "https://evil.example", "/d.png"),
        ("http://evil.example:81", "http://evil.example:81", "/"),
        ("#x", "https://images.example.com", "/a/b?c"),
    ],
)
def test_a_redirect_may_be_relative(reference: str, origin: str, target: str) -> None:
    start = RemoteUrl(scheme="https", host="images.example.com", port=443, target="/a/b?c")
    found = follow_reference(start, reference)
    assert found is not None
    assert (found.origin, found.target) == (origin, target)


@pytest.mark.parametrize(
    "reference", ["", " ", "/a b", "/é", "\\\\evil.example", "/\r\nX: y", "/" + "a" * 2_048, "//a@b"]
)
def test_a_redirect_to_nowhere_or_in_another_form_is_none(reference: str) -> None:
    start = RemoteUrl(scheme="https", host="images.example.com", port=443, target="/a/b?c")
    assert follow_reference(start, reference) is None


@pytest.mark.parametrize("url", ["http://x", "HTTPS:x", "http:/\\x", "https:"])
def test_what_asks_to_be_fetched_is_known_however_odd(url: str) -> None:
    assert is_remote(url)


@pytest.mark.parametrize("url", ["", "data:image/png;base64,", "ftp://a", "xhttps://a", "httpſ://a", "http"])
def test_what_does_not_ask_to_be_fetched_is_not_remote(url: str) -> None:
    assert not is_remote(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.com/",
        "https://IMAGES.example.com:443/",
        "https://a.cdn.example.net/",
        "https://a.b.cdn.example.net/",
        "http://plain.example.com/",
        "https://odd.example.com:8443/",
    ],
)
def test_hosts_that_are_listed_are_allowed(url: str) -> None:
    parsed = parse_remote_url(url)
    assert parsed is not None
    assert ALLOWED.allow(parsed)


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example.com/",
        "https://images.example.com:8443/",
        "http://images.example.com:443/",
        "https://a.images.example.com/",
        "https://images.example.com.evil.example/",
        "https://evil-images.example.com/",
        "https://example.com/",
        "https://cdn.example.net/",
        "https://evilcdn.example.net/",
        "http://a.cdn.example.net/",
        "https://plain.example.com/",
        "https://odd.example.com/",
    ],
)
def test_hosts_that_are_not_listed_are_not_allowed(url: str) -> None:
    parsed = parse_remote_url(url)
    assert parsed is not None
    assert not ALLOWED.allow(parsed)


@pytest.mark.parametrize("setting", ["", " ", ",", " , ,"])
def test_an_empty_list_allows_nothing(setting: str) -> None:
    assert parse_allowed_hosts(setting) == AllowedHosts()
    assert not parse_allowed_hosts(setting)


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.",
        "*.com",
        "images.*.com",
        "**.example.com",
        "a.example.com/path",
        "a.example.com:0",
        "a.example.com:70000",
        "a.example.com:",
        "user@a.example.com",
        "ftp://a.example.com",
        "https://",
        "127.0.0.1",
        "10.0.0.0/8",
        "2130706433",
        "[::1]",
        "bücher.example",
        "a.example.com.",
        "a..example.com",
        "a.example.com b.example.com",
    ],
)
def test_an_entry_that_is_no_host_keeps_the_service_from_starting(entry: str) -> None:
    with pytest.raises(StartError, match=r"GENRM_IMAGE_HOSTS is .* is no host\. Allowed are"):
        parse_allowed_hosts(f"images.example.com,{entry}")


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1"),  # noqa: S104
        *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.192", "192.0.2.1"),
        *("192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1"),
        *("240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::7f00:1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
        *("2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1"),
        *("5f00::1", "4000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
        *("2606:4700::1111%1", "", "localhost", "127.1", "0x7f000001", "8.8.8.8 ", "8.8.8.8/32", "[2606:4700::1111]"),
    ],
)
def test_an_address_that_is_not_public_is_never_connected_to(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "192.0.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"]
)
def test_a_public_address_is_connected_to(address: str) -> None:
    assert is_public_address(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_a_translated_one_counts_for_itself(inner: ipaddress.IPv4Address) -> None:
    translated = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | int(inner))
    assert is_public_address(str(translated)) == is_public_address(str(inner))
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | int(inner))
    assert not is_public_address(str(mapped))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_public_address(str(address)) or str(address).startswith("64:ff9b::")
