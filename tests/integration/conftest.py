"""The database server that the tests of a process share."""

from collections.abc import Iterator

import pytest

from tests.integration import postgres as database
from tests.integration.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with database.server() as there:
        yield there
