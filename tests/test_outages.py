"""A service that cannot be reached any more is waited for by all calls together."""

import threading

import pytest

from fake_listrak import Ask
from tap_listrak.listrak.gate import MAX_OUTAGE_SECONDS
from tests.support.faults import FAULTS
from tests.support.runs import CLICK, tap_for
from tests.support.tap import MakeTap, Tap


class Outages:
    """Let the service go away at the first call of each operation, and come back in time."""

    def __init__(self, tap: Tap, seconds: float, *operations: str) -> None:
        self._service, self._seconds, self._left = tap.service, seconds, list(operations)
        self._lock = threading.Lock()
        self.waited: list[float] = []
        tap.service.rules.append(self._go)

    def _go(self, ask: Ask) -> None:
        if ask.operation in self._left:
            self._left.remove(ask.operation)
            self.waited.append(0.0)
            self._service.refuse_connections()

    def sleep(self, seconds: float) -> None:
        """Note a wait; at the end of the outage the service is back."""
        with self._lock:
            before = self.waited[-1]
            self.waited[-1] += seconds
            if before < self._seconds <= self.waited[-1]:
                self._service.accept_again()


@pytest.mark.parametrize("operations", [(CLICK,), ("GetContactListCollection", CLICK)], ids=len)
def test_90_seconds_away_cost_one_warning(make_tap: MakeTap, operations: tuple[str, ...]) -> None:
    tap = tap_for(make_tap, concurrency=8)
    run = tap.night(sleep=Outages(tap, 90, *operations).sleep)
    assert (run.code, tap.missing(run), run.set_aside) == (0, {}, [])
    # All calls wait for each outage together.
    told = run.warnings("until the service is reachable")
    assert len(told) == len(operations)
    assert all(FAULTS["unreachable"].message in each for each in told)


def test_a_service_gone_for_over_five_minutes_ends_the_run_after_a_state(make_tap: MakeTap) -> None:
    tap = tap_for(make_tap, concurrency=4)
    outages = Outages(tap, 10_000, CLICK)
    run = tap.night(sleep=outages.sleep)
    assert run.code == 1
    assert "Cannot connect to Listrak" in run.lines("CRITICAL")[0]
    # Calls under way when it went away may have waited on their own before.
    assert MAX_OUTAGE_SECONDS - 60 < outages.waited[0] < MAX_OUTAGE_SECONDS + 60
    assert len(run.warnings("until the service is reachable")) == 1
    assert run.messages[-1]["type"] == "STATE"
    assert (run.set_aside, run.is_finished) == ([], False)
    tap.heal()
    tap.service.accept_again()
    rest = tap.night(1, run)
    assert (rest.code, tap.missing(run, rest)) == (0, {})
