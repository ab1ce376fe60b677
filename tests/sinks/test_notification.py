from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sinks.notification import (
    Delivered,
    Failed,
    Notification,
    NotificationConfigurationError,
    Notifier,
    Pauses,
    Untold,
    after_attempt,
    are_ripe,
    is_due,
    planned,
    target_name,
)

NOW = datetime(2025, 3, 1, tzinfo=UTC)


class Receiver(ThreadingHTTPServer):
    """A real web hook on loopback: keeps what it gets, answers what it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.hold = threading.Event()
        self.hold.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.hold.wait(20)
        self.server.got.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What an application that logs everything would write; pytest's own capture also reads loggers cut off from it."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    logging.getLogger("tocsin").debug("captured")
    assert "captured" in text.getvalue()
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("scheme", ["json", "xml", "form"])
def test_a_message_arrives_with_its_id_in_body_and_headers(receiver: Receiver, scheme: str) -> None:
    notifier = Notifier([f"{scheme}://{receiver.address}/hook"])
    assert notifier.send(notifier.targets[0], "it <moved>", "page: p1", "n-1") == Delivered()
    [(headers, body)] = receiver.got
    assert headers["X-Tocsin-Id"] == headers["Idempotency-Key"] == "n-1"
    assert b"notification: n-1" in body.replace(b"+", b" ").replace(b"%3A", b":")


def test_a_json_receiver_reads_title_and_body_as_they_were(receiver: Receiver) -> None:
    notifier = Notifier([f"json://{receiver.address}/hook"])
    notifier.send(notifier.targets[0], "it moved", "before → now\n\npage: p1", "n-1")
    sent = json.loads(receiver.got[0][1])
    assert (sent["title"], sent["message"]) == ("it moved", "before → now\n\npage: p1\nnotification: n-1")


def test_a_refusal_is_a_value_with_a_reason(receiver: Receiver) -> None:
    receiver.status = 503
    notifier = Notifier([f"json://{receiver.address}"])
    result = notifier.send(notifier.targets[0], "t", "b", "n-1")
    assert isinstance(result, Failed)
    assert "503" in result.reason


def test_a_receiver_that_is_away_is_a_value_and_the_next_try_arrives(receiver: Receiver) -> None:
    away = Notifier(["json://127.0.0.1:9/hook"])
    assert isinstance(away.send(away.targets[0], "t", "b", "n-1"), Failed)
    there = Notifier([f"json://{receiver.address}/hook"])
    assert there.send(there.targets[0], "t", "b", "n-1") == Delivered()


def test_a_receiver_that_never_answers_fails_within_the_timeout(receiver: Receiver) -> None:
    receiver.hold.clear()
    notifier = Notifier([f"json://{receiver.address}?rto=20"], timeout_seconds=0.5)
    result = notifier.send(notifier.targets[0], "t", "b", "n-1")
    assert isinstance(result, Failed)
    assert not receiver.got


def test_many_threads_send_each_their_own_id(receiver: Receiver) -> None:
    notifier = Notifier([f"json://{receiver.address}"])
    ids = [f"n-{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda each: notifier.send(notifier.targets[0], "t", "b", each), ids))
    assert results == [Delivered()] * 40
    assert sorted(headers["X-Tocsin-Id"] for headers, _ in receiver.got) == sorted(ids)
    assert all(f"notification: {headers['X-Tocsin-Id']}".encode() in body for headers, body in receiver.got)


@pytest.mark.parametrize("wrong", ["sw0rdfish", "nosuch://user:sw0rdfish@host", "slack://sw0rdfish/x", "json://", ""])
def test_a_wrong_entry_is_named_by_its_number_and_never_shown(
    wrong: str, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotificationConfigurationError, match=r"^notification\.urls: entry 2 is") as caught:
        Notifier(["json://localhost", wrong])
    captured = capfd.readouterr()
    assert "sw0rdfish" not in f"{caught.value}{log.getvalue()}{captured.out}{captured.err}"


SECRETS = "json://ada:sw0rdfish@127.0.0.1:9/hidden-path?+Authorization=Bearer+t0ken"


def test_neither_name_nor_reason_nor_log_shows_a_secret(log: io.StringIO) -> None:
    notifier = Notifier([SECRETS])
    result = notifier.send(notifier.targets[0], "t", "b", "n-1")
    assert isinstance(result, Failed)
    assert notifier.targets[0].startswith("json://127.0.0.1:9#")
    shown = f"{notifier.targets[0]}{result.reason}{log.getvalue()}"
    assert not [secret for secret in ("ada", "sw0rdfish", "hidden-path", "t0ken") if secret in shown]


def test_names_are_stable_differ_by_secret_and_hide_hosts_that_are_tokens() -> None:
    assert target_name(SECRETS) == target_name(SECRETS) != target_name(SECRETS.replace("sw0rdfish", "other"))
    assert target_name("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ").startswith("slack#")


def test_equal_urls_are_one_target() -> None:
    assert len(Notifier(["json://localhost", "json://localhost"]).targets) == 1


def test_a_target_that_left_the_settings_is_a_failure_to_try_again() -> None:
    assert Notifier([]).send("json#00", "t", "b", "n-1") == Failed("no such target is configured")


def message(*page_ids: str, target: str = "json#00", seconds: float = 0) -> Notification:
    return planned("i1", target, page_ids, "t", "b", NOW + timedelta(seconds=seconds))


def test_a_message_has_the_id_of_its_pages_and_its_target() -> None:
    assert message("p1", "p2").notification_id == message("p2", "p1", seconds=9).notification_id
    others = [message("p1"), message("p1", "p2", "p3"), message("p1", "p2", target="json#01")]
    assert len({each.notification_id for each in [message("p1", "p2"), *others]}) == 4


def test_a_message_stays_pending_until_it_is_delivered() -> None:
    row = message("p1")
    failed = after_attempt(row, Failed("away"), NOW)
    assert (failed.state, failed.attempts, failed.last_error, failed.version) == ("pending", 1, "away", 2)
    sent = after_attempt(failed, Delivered(), NOW + timedelta(seconds=15))
    assert (sent.state, sent.attempts, sent.last_error, sent.version) == ("sent", 2, "", 4)


def test_what_was_delivered_outweighs_a_failure_that_a_worker_which_hung_reports_of_the_same_try() -> None:
    row = message("p1")
    assert after_attempt(row, Delivered(), NOW).version > after_attempt(row, Failed("too late"), NOW).version


def test_a_first_try_is_due_at_once_and_another_after_the_pause() -> None:
    pause, row = timedelta(seconds=15), message("p1")
    failed = after_attempt(row, Failed("away"), NOW)
    assert is_due(row, pause, NOW)
    assert not is_due(failed, pause, NOW + timedelta(seconds=14))
    assert is_due(failed, pause, NOW + pause)
    assert not is_due(after_attempt(row, Delivered(), NOW), pause, NOW + timedelta(days=9))
    assert is_due(failed, pause, NOW - timedelta(days=1)), "the clock was wrong when it failed, or is now"


def ripe_at(second: float, added: list[float], *earlier: Notification) -> bool:
    untold = [Untold("json#00", f"q{each}", "i1", "", NOW + timedelta(seconds=each)) for each in added]
    pauses = Pauses(group=timedelta(seconds=10), follow_up=timedelta(seconds=900))
    return are_ripe(untold, earlier, pauses, NOW + timedelta(seconds=second))


def test_pages_gather_from_the_first_of_them_on() -> None:
    assert not ripe_at(9, [0, 8])
    assert ripe_at(10, [0, 8])


def test_pages_that_join_later_gather_from_the_last_message_on_whichever_is_longer() -> None:
    sent = after_attempt(message("p1"), Delivered(), NOW)
    assert not ripe_at(899, [20], sent)
    assert ripe_at(900, [20], sent)
    assert not ripe_at(5_000, [4_995], sent), "also after a long silence"
    assert ripe_at(5_005, [4_995], sent)


def test_pages_wait_for_a_message_that_a_target_does_not_take() -> None:
    failed = after_attempt(message("p1"), Failed("away"), NOW)
    assert not ripe_at(90_000, [20], failed)


def test_a_clock_that_was_a_day_ahead_holds_nothing_up() -> None:
    assert ripe_at(0, [86_400], after_attempt(message("p1", seconds=86_000), Delivered(), NOW + timedelta(days=1)))


@pytest.mark.parametrize(("option", "requests"), [("", 2), ("?overflow=upstream", 1)])
def test_what_is_too_long_for_a_service_goes_out_in_parts(receiver: Receiver, option: str, requests: int) -> None:
    notifier = Notifier([f"mmost://{receiver.address}/abcdefgh{option}"])
    ids = [f"page: {number:0>36}" for number in range(100)]
    assert notifier.send(notifier.targets[0], "t", "\n".join(ids), "n-1") == Delivered()
    texts = [json.loads(body)["text"] for _, body in receiver.got]
    assert len(texts) == requests
    assert all(each in "".join(texts) for each in ids)
