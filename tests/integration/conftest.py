"""Fixtures: the tap from its wheel, a service, a database server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import postgres as database
from tests.integration.environments import tap_environment
from tests.integration.postgres import Postgres


@pytest.fixture(scope="session")
def tap_bin() -> Path:
    """The bin folder of an environment that holds the tap's wheel."""
    return tap_environment()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this run's own."""
    with database.server() as there:
        yield there
