"""Fixtures: a real HTTP server that speaks Listrak's WSDL, and the tap pointed at it."""

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, settings

from fake_listrak import Account, ListrakService
from tap_listrak.sync import run as runner
from tests.support.tap import PASSWORD, USERNAME, MakeTap, Tap

# How long an example takes says nothing here: it depends on what else the machine does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def make_tap(tmp_path: Path) -> Iterator[MakeTap]:
    """Start a service with this account (or one made of these arguments); give a tap for it."""
    with contextlib.ExitStack() as services:

        def make(
            account: Account | None = None,
            config: dict[str, Any] | None = None,
            latency: float = 0.0,
            wsdl: Literal["full", "nine"] = "full",
            tls: ssl.SSLContext | None = None,
            **shape: Any,
        ) -> Tap:
            account = account or Account(**shape)
            service = ListrakService(account, USERNAME, PASSWORD, latency, wsdl=wsdl, tls=tls)
            return Tap(services.enter_context(service), tmp_path, config or {})

        yield make


@pytest.fixture
def tap(make_tap: MakeTap) -> Tap:
    """A tap for a small account: 3 lists of 8 messages and 40 contacts, pages of 10 rows."""
    return make_tap()


@pytest.fixture
def state_after_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tap write a STATE after every page, however soon one follows the other."""
    monkeypatch.setattr(runner, "SECONDS_BETWEEN_STATES", 0.0)
