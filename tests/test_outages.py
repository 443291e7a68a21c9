"""A service that cannot be reached any more is waited for by all calls together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fake_listrak import Ask, ListrakService
from tap_listrak.listrak.faults import Scope, UnreachableError
from tap_listrak.listrak.gate import MAX_OUTAGE_SECONDS
from tests.support.faults import FAULTS, LISTS_REQUEST, make_client, tiny_account
from tests.support.nights import heal, missing, night, tap_for
from tests.support.runs import CLICK, is_finished, set_aside, warnings
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Tap

THREADS = 4


class Service:
    """A service that can go and come back at its address."""

    def __init__(self) -> None:
        self._port = 0
        self.start()

    def start(self) -> None:
        self.now = ListrakService(tiny_account(), USERNAME, PASSWORD, port=self._port)
        self.now.__enter__()
        self.url = self.now.url
        self._port = int(self.url.split(":")[2].split("/")[0])

    def stop(self) -> None:
        self.now.close()


@pytest.fixture
def service() -> Service:
    return Service()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def outage(service: Service, waits: int) -> tuple[list[float], Callable[[float], None]]:
    """The waits of an outage that ends after a number of waits, and their counter."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == waits:
            service.start()

    return waited, sleep


def test_calls_wait_together_until_the_service_is_back(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    waited, sleep = outage(service, 3)
    client = make_client(service.url, sleep)
    client.fetch(LISTS_REQUEST)
    service.stop()
    begin = threading.Barrier(THREADS)

    def fetch() -> int:
        begin.wait()
        return client.fetch(LISTS_REQUEST).row_count

    with ThreadPoolExecutor(THREADS) as threads:
        rows = [each.result() for each in [threads.submit(fetch) for _ in range(THREADS)]]
    assert rows == [2] * THREADS
    assert len(waited) == 3
    (warning,) = warnings_of(caplog)
    assert FAULTS["unreachable"].message in warning
    service.stop()


def test_each_outage_has_a_warning_of_its_own(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(service.url, lambda seconds: service.start())
    client.fetch(LISTS_REQUEST)
    for _ in range(2):
        service.stop()
        client.fetch(LISTS_REQUEST)
    assert len(warnings_of(caplog)) == 2
    service.stop()


def test_an_outage_of_five_minutes_ends_all_calls(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    waited: list[float] = []
    client = make_client(service.url, waited.append)
    client.fetch(LISTS_REQUEST)
    service.stop()
    with ThreadPoolExecutor(THREADS) as threads:
        calls = [threads.submit(client.fetch, LISTS_REQUEST) for _ in range(THREADS)]
        errors = [each.exception() for each in calls]
    for error in errors:
        assert isinstance(error, UnreachableError)
        assert error.scope is Scope.RUN
    assert MAX_OUTAGE_SECONDS - 10 < sum(waited) <= MAX_OUTAGE_SECONDS
    assert len(warnings_of(caplog)) == 1
    service.start()
    with pytest.raises(UnreachableError):
        client.fetch(LISTS_REQUEST)
    assert not service.now.connections
    service.stop()


def test_before_the_first_answer_the_usual_tries_are_all() -> None:
    waited: list[float] = []
    service = Service()
    service.stop()
    with pytest.raises(UnreachableError) as caught:
        make_client(service.url, waited.append).fetch(LISTS_REQUEST)
    assert caught.value.scope is Scope.RUN
    assert len(waited) == 4


# Of a whole run.


def outage_within(tap: Tap, seconds: float) -> Callable[[float], None]:
    """Let the service go away in the midst of a run; return the sleep that ends it in time."""
    lock, waited = threading.Lock(), [0.0]

    def go(ask: Ask) -> None:
        if ask.operation == CLICK and not waited[0]:
            waited[0] = 0.001
            tap.service.refuse_connections()

    def sleep(wait: float) -> None:
        with lock:
            before, waited[0] = waited[0], waited[0] + wait
            if before < seconds <= waited[0]:
                tap.service.accept_again()

    tap.service.rules.append(go)
    return sleep


def test_a_service_that_goes_away_for_90_seconds_costs_one_warning_and_nothing_else(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, concurrency=8)
    run = night(tap, sleep=outage_within(tap, 90))
    assert (run.code, missing(tap, run), set_aside(run)) == (0, {}, [])
    assert len(warnings(run, "until the service is reachable")) == 1


def test_a_service_that_is_gone_for_longer_than_five_minutes_ends_the_run_after_a_state(
    make_tap: MakeTap,
) -> None:
    tap = tap_for(make_tap, concurrency=4)
    run = night(tap, sleep=outage_within(tap, 10_000))
    assert run.code == 1
    assert "Cannot connect to Listrak" in run.lines("CRITICAL")[0]
    assert run.messages[-1]["type"] == "STATE"
    assert (set_aside(run), is_finished(run.state)) == ([], False)
    heal(tap)
    tap.service.accept_again()
    rest = night(tap, 1, run)
    assert (rest.code, missing(tap, run, rest)) == (0, {})
