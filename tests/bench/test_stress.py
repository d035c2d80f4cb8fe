"""The scripts that put the service under stress: what they make of answers, and one short run of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import drain, fuzz, overload, soak
from bench.load_loops import Capacity, Exchange, Load, Plan, choose_capacity, measure_capacity, read_code
from bench.raw_http import Answer, AnswerReader, ConnectionPool
from bench.running_service import Figure, RunningService, Sample, finish
from bench.serving import Server
from genrm.shipped import judge_folder

needs_judge = pytest.mark.skipif(
    not (judge_folder() / "config.json").is_file(),
    reason="the shipped judge is not built; 'vl-genrm pocket build' makes it",
)


def make_answer(status: int | None = 200, body: bytes = b"{}", **fields: object) -> Answer:
    return Answer(**{"sent": 1.0, "ended": 1.5, "status": status, "body": body, **fields})  # type: ignore[arg-type] # few of many


def make_exchange(
    status: int | None = 200, *, ended: float = 1.0, latency_ms: float = 100, **fields: object
) -> Exchange:
    values = {
        "kind": "critique", "request_id": "x", "due": ended - latency_ms / 1000, "sent": ended - latency_ms / 1000,
        "ended": ended, "status": status, "failure": None, "code": None, "has_retry_after": False, **fields,
    }  # fmt: skip
    return Exchange(**values)  # type: ignore[arg-type] # few of many


def make_error(code: str, message: str = "") -> bytes:
    return json.dumps({"error": {"code": code, "message": message}}).encode()


# --- answers as bytes -------------------------------------------------------------------------------------------------


def test_an_answer_is_whole_when_its_length_is_there() -> None:
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 503 Service Unavailable\r\nContent-Le")
    assert not reader.feed(b"ngth: 5\r\nRetry-After: 3\r\n\r\n123")
    assert reader.feed(b"45")
    assert (reader.status, bytes(reader.body), reader.headers["retry-after"]) == (503, b"12345", "3")


def test_an_answer_in_chunks_ends_with_the_empty_one() -> None:
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    reader = AnswerReader()
    for index in range(len(whole) - 1):
        assert not reader.feed(whole[index : index + 1])
    assert reader.feed(whole[-1:])
    assert bytes(reader.body) == b"abcde"


def test_an_invitation_to_go_on_is_not_the_answer() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    assert reader.status == 204


def test_what_is_no_http_is_told() -> None:
    with pytest.raises(ValueError, match="SSH"):
        AnswerReader().feed(b"SSH-2.0-x\r\n\r\n")


async def exchange_with(answer: bytes, *, hang_up: bool = False) -> Answer:
    """What comes of a request to a server that sends these bytes, and closes unless there are none."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if not answer:
                await reader.read()
            writer.close()
            await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        pool = ConnectionPool(*server.sockets[0].getsockname())
        found = await pool.exchange(b"GET / HTTP/1.1\r\n\r\n", timeout_seconds=0.2 if hang_up else 60, hang_up=hang_up)
        await pool.close()
        await served.wait()
    return found


async def test_a_connection_that_closes_in_the_middle_of_an_answer_is_a_failure() -> None:
    found = await exchange_with(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
    assert (found.status, found.failure, found.body) == (200, "closed", b"half")


async def test_a_client_that_gives_up_is_told_apart_from_a_server_that_is_late() -> None:
    assert (await exchange_with(b"", hang_up=True)).failure == "hung_up"


async def test_a_port_that_is_closed_is_told() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    assert (await ConnectionPool(*address).exchange(b"x")).failure == "not_connected"


# --- what they make of it ---------------------------------------------------------------------------------------------


def test_the_error_that_ends_a_stream_is_found() -> None:
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    good = make_answer(body=b"event: critique\ndata: {}\n\nevent: verdict\ndata: {}\n\n", headers=headers)
    bad = make_answer(body=b"event: error\ndata: " + make_error("engine_failed") + b"\n\n", headers=headers)
    assert (read_code(good), read_code(bad)) == (None, "engine_failed")
    assert read_code(make_answer(503, make_error("overloaded"))) == "overloaded"
    assert read_code(make_answer(500, b"oh")) == "unreadable"


def test_capacity_has_the_fewest_clients_that_reach_the_best_throughput() -> None:
    steps = [
        Capacity(num_clients=clients, rate=rate, p50_ms=1, p99_ms=1)
        for clients, rate in ((1, 5.0), (4, 14.6), (8, 15.0), (16, 14.9))
    ]
    assert choose_capacity(steps).num_clients == 4


def test_answers_before_all_clients_are_under_way_do_not_count_for_the_rate() -> None:
    load = Load(exchanges=[make_exchange(ended=second) for second in (1, 3, 5, 7, 9)], seconds=8)
    assert measure_capacity(load, 2).rate == pytest.approx(3 / 6)


def find(figures: Sequence[Figure], name: str) -> Figure:
    return next(figure for figure in figures if figure.name == name)


def judge_overload(*exchanges: Exchange) -> list[Figure]:
    capacity = Capacity(num_clients=4, rate=10, p50_ms=100, p99_ms=200)
    return overload.judge_overload(Load(exchanges=list(exchanges), seconds=2), capacity, [100.0] * 8, is_running=True)


def test_an_overload_is_judged_by_slowdown_refusals_and_their_reasons() -> None:
    refusal = make_exchange(503, latency_ms=20, code="overloaded", has_retry_after=True)
    figures = judge_overload(make_exchange(latency_ms=300), refusal)
    assert find(figures, "p99 against that at capacity (times)").value == pytest.approx(1.5)
    assert find(figures, "refusals: slowest (ms)").value == pytest.approx(20)
    assert all(figure.is_met for figure in figures)


@pytest.mark.parametrize(
    ("exchange", "figure"),
    [
        (make_exchange(latency_ms=500), "p99 against that at capacity (times)"),
        (make_exchange(503, latency_ms=60, has_retry_after=True), "refusals: slowest (ms)"),
        (make_exchange(503, latency_ms=6), "neither answered nor refused with Retry-After"),
        (make_exchange(None, failure="closed"), "neither answered nor refused with Retry-After"),
        (make_exchange(500, code="internal_error"), "neither answered nor refused with Retry-After"),
    ],
)
def test_an_overload_misses_what_it_should(exchange: Exchange, figure: str) -> None:
    assert not find(judge_overload(make_exchange(), make_exchange(), exchange), figure).is_met


@pytest.mark.parametrize(
    ("answer", "is_logged", "outcome"),
    [
        (make_answer(), True, "answered"),
        (
            make_answer(503, make_error("shutting_down", "This replica is stopping and takes nothing new.")),
            True,
            "refused",
        ),
        (
            make_answer(503, make_error("shutting_down", "This replica stopped before the answer was ready.")),
            True,
            "lost",
        ),
        (make_answer(None, failure="not_connected"), False, "not connected"),
        (make_answer(None, failure="closed"), False, "never seen"),
        (make_answer(None, failure="closed"), True, "lost"),
        (make_answer(200, failure="closed"), False, "lost"),
        (make_answer(None, failure="timed_out"), False, "lost"),
        (make_answer(500, make_error("internal_error")), True, "lost"),
    ],
)
def test_a_request_is_lost_if_it_was_begun_and_not_answered(answer: Answer, is_logged: bool, outcome: str) -> None:  # noqa: FBT001
    assert drain.classify(answer, is_logged=is_logged) == outcome


def test_a_leak_shows_as_growth_and_a_peak_does_not() -> None:
    def watch(value: Callable[[int], float]) -> list[Sample]:
        return [Sample(seconds=second, held={"rss_mib": value(second)}) for second in range(100)]

    assert soak.find_growth(watch(lambda second: 100 + second), "rss_mib", 20) == (129.5, 189.5)
    assert soak.find_growth(watch(lambda second: 500 if 55 < second < 60 else 100), "rss_mib", 20) == (100, 100)
    assert soak.find_growth([], "rss_mib", 20) is None


def test_a_mistake_deserves_a_refusal_and_a_good_request_an_answer() -> None:
    assert soak.is_right(make_exchange(422, kind="bad", code="invalid_json"))
    assert not soak.is_right(make_exchange(200, kind="bad"))
    assert not soak.is_right(make_exchange(500, kind="bad", code="internal_error"))
    assert not soak.is_right(make_exchange(422, code="invalid_json"))
    assert soak.is_right(make_exchange(None, failure="hung_up"))


def test_p99_over_time_has_a_value_for_every_window_with_answers() -> None:
    exchanges = [make_exchange(ended=second, latency_ms=10 * second) for second in (1, 2, 9)]
    windows = soak.list_p99(exchanges, 10, 2)
    assert [middle for middle, _ in windows] == [2.5, 7.5]
    assert [value for _, value in windows] == pytest.approx([19.9, 90])


def test_a_missed_figure_is_the_exit_status_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = [
        Figure(name="lost", value=0, limit=0),
        Figure(name="rate", value=5),
        Figure(name="p99", value=None, limit=1),
    ]
    assert finish("Title", figures[:2], {}, None) == 0
    assert finish("Title", figures, {"seed": 3}, tmp_path / "report.json") == 1
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [figure["is_met"] for figure in report["figures"]] == [True, True, False]
    assert report["seed"] == 3
    assert "MISSED" in capsys.readouterr().out


def test_a_service_that_answers_nothing_has_no_capacity_to_exceed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(overload, "run_apart", lambda *_: Load(exchanges=[], seconds=3, cpu_share=0))
    plan = Plan(address=("127.0.0.1", 9), folder=tmp_path, seconds=3)
    service = RunningService(server=Server(url="", start_seconds=None, process=None), settings={}, log=tmp_path / "log")
    with pytest.raises(SystemExit, match=r"Nothing was answered within 3 s.*--step-seconds"):
        overload.overload(service, plan, 1, times=10, seconds=3)


# --- one short run of each --------------------------------------------------------------------------------------------


@pytest.fixture
def without_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The services that scripts start load no vision experts, which their figures do not need."""
    monkeypatch.setenv("GENRM_EXPERTS", "none")


def read_values(file: Path) -> dict[str, float | None]:
    return {figure["name"]: figure["value"] for figure in json.loads(file.read_text("utf-8"))["figures"]}


@needs_judge
@pytest.mark.usefixtures("without_experts")
@pytest.mark.alone
@pytest.mark.slow
def test_an_overloaded_service_refuses_with_a_reason_and_does_not_fall(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    overload.main(["--seconds", "3", "--step-seconds", "3", "--clients", "4", "--out", str(out)])
    values = read_values(out)
    assert values["neither answered nor refused with Retry-After"] == 0
    assert values["crashes"] == 0
    assert values["refusals: p50 (ms)"] is not None


@needs_judge
@pytest.mark.usefixtures("without_experts")
@pytest.mark.alone
@pytest.mark.slow
def test_a_stopped_service_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert drain.main(["--times", "1", "--clients", "6", "--seconds", "2", "--out", str(out)]) == 0
    assert (read_values(out)["answered"] or 0) > 0


@needs_judge
@pytest.mark.usefixtures("without_experts")
@pytest.mark.alone
@pytest.mark.slow
def test_a_soaked_service_answers_everything_and_is_drawn(tmp_path: Path) -> None:
    out, png = tmp_path / "report.json", tmp_path / "soak.png"
    soak.main(["--minutes", "0.1", "--rate", "3", "--out", str(out), "--plot", str(png)])
    values = read_values(out)
    assert values["answered wrongly or not at all"] == 0
    assert values["crashes"] == 0
    assert png.read_bytes().startswith(b"\x89PNG")


@needs_judge
@pytest.mark.alone
@pytest.mark.slow
def test_a_fuzzed_service_keeps_its_temper(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert fuzz.main(["--times", "150", "--max-examples", "0", "--out", str(out)]) == 0
    assert read_values(out)["spoilt requests"] == 150
