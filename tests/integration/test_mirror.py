"""What each target makes of a mirror: RECORDs with a version, and ACTIVATE_VERSION after them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from fake_listrak import Account
from tap_listrak.config import MIRRORABLE
from tests.integration.pipe import Piped
from tests.integration.postgres import Postgres
from tests.integration.rows import START, account_of_2025
from tests.integration.targets import (
    CSV,
    DuckDB,
    JSONLines,
    MeltanoPostgres,
    PipelinewisePostgres,
    Stitch,
    Target,
)
from tests.support.accounts import list_ids, serving
from tests.support.published import COLUMNS, KEYS
from tests.support.records import keys_held
from tests.support.tap import Tap, catalog_of

Keys = dict[str, set[tuple[Any, ...]]]

MIRRORED = {table: COLUMNS[table] for table in MIRRORABLE}


@dataclass
class Mirror:
    """A target, and the tap that mirrors an account into it."""

    target: Target
    tap: Tap
    ever: Keys = field(default_factory=lambda: {table: set() for table in MIRRORED})
    """By table, the keys of all that any run has shown the target."""

    @property
    def account(self) -> Account:
        return self.tap.service.account

    def sync(self, state: Any = None, between: str = "cat") -> Piped:
        """Run the tap into the target, in a second of its own.

        Versions are whole seconds, and a run requests a mirrored stream only for a new version.
        """
        time.sleep(1 - time.time() % 1)
        self.ever = {table: keys | self.ever[table] for table, keys in self.shown().items()}
        return self.target.sync(self.tap, state=state, between=between)

    def shown(self) -> Keys:
        """By table, the keys of what the account shows now."""
        held = keys_held(self.account)
        return {table: set(held[table]) for table in MIRRORED}

    def gone(self) -> Keys:
        """By table, the keys of what it has shown, and shows no more."""
        shown = self.shown()
        return {table: keys - shown[table] for table, keys in self.ever.items()}

    def stored(self, has: Callable[[dict[str, Any]], bool] = lambda row: True) -> Keys:
        """By table, the keys of those stored rows of which this holds."""
        return {
            table: {
                tuple(row[self.target.column(name)] for name in KEYS[table])
                for row in self.target.rows(table, columns)
                if has(row)
            }
            for table, columns in MIRRORED.items()
        }

    def leave(self) -> None:
        """Have a list, a message and a contact vanish."""
        first, *_, last = list_ids(self.account)
        self.account.hide_contact(first, str(self.account.contacts(first)[0]["EmailAddress"]))
        self.account.hide_message(int(str(self.account.messages(first)[0]["MsgID"])))
        self.account.hide_list(last)


Make = Callable[..., Mirror]


@pytest.fixture
def make(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes a mirror of three lists in a target of a kind, with these options."""
    with ExitStack() as stack:

        def make(kind: type[Target], **options: Any) -> Mirror:
            target = kind(tmp_path_factory.mktemp(kind.package), postgres, **options)
            account = account_of_2025(lists=3, messages=4, contacts=12, page_size=5)
            mirror = list(MIRRORABLE)
            tap = stack.enter_context(
                serving(account, target.folder, start_date=START, mirror=mirror)
            )
            tap.catalog = catalog_of(*MIRRORABLE)
            return Mirror(target, tap)

        yield make


def activated(piped: Piped) -> dict[str, int]:
    """By table, the version that a run activated."""
    return {each["stream"]: each["version"] for each in piped.of_type("ACTIVATE_VERSION")}


def assert_deleted(mirror: Mirror) -> None:
    """What the account shows is there; what is gone is marked, or has been deleted."""
    assert mirror.stored(lambda row: not row["_sdc_deleted_at"]) == mirror.shown()
    marked = mirror.stored(lambda row: bool(row["_sdc_deleted_at"]))
    if mirror.target.options["hard_delete"]:
        assert not any(marked.values())
    else:
        assert marked == mirror.gone()


@pytest.mark.parametrize("hard_delete", [False, True])
def test_what_has_left_is_deleted_and_may_come_back(hard_delete: bool, make: Make) -> None:
    mirror = make(MeltanoPostgres, hard_delete=hard_delete)
    option = {"mirror": mirror.tap.config.pop("mirror")}
    first = mirror.sync()
    assert not activated(first), "these rows have no version"
    *_, last = list_ids(mirror.account)
    mirror.leave()
    mirror.tap.config |= option
    second = mirror.sync(first.state)
    assert all(mirror.gone().values())
    assert_deleted(mirror)
    mirror.account.add_list(last)
    for ListID in list_ids(mirror.account):
        for contact in mirror.account.contacts(ListID):
            mirror.account.hide_contact(ListID, str(contact["EmailAddress"]))
    third = mirror.sync(second.state)
    assert not mirror.shown()["subscribed_contacts"]
    assert activated(third).keys() == set(MIRRORABLE)
    assert_deleted(mirror)


def test_a_run_cut_off_deletes_nothing_and_the_one_that_resumes_it_does(make: Make) -> None:
    mirror = make(MeltanoPostgres, hard_delete=True)
    first = mirror.sync()
    mirror.leave()
    cut_off = mirror.sync(first.state, "sed '/ACTIVATE_VERSION/,$d'")
    (version,) = {each["version"] for each in cut_off.of_type("RECORD")}
    assert mirror.stored(lambda row: not row["_sdc_deleted_at"]) == mirror.ever
    rest = mirror.sync(cut_off.state)
    assert activated(rest) == dict.fromkeys(MIRRORABLE, version), "it resumes"
    assert len(rest.of_type("RECORD")) < len(cut_off.of_type("RECORD"))
    assert_deleted(mirror)


@pytest.mark.parametrize("kind", [JSONLines, CSV, DuckDB, PipelinewisePostgres, Stitch])
def test_other_targets_keep_every_row(kind: type[Target], make: Make) -> None:
    mirror = make(kind)
    first = mirror.sync()
    assert mirror.stored() == mirror.shown()
    mirror.leave()
    second = mirror.sync(first.state)
    assert activated(second).keys() == set(MIRRORABLE)
    assert all(mirror.gone().values())
    assert mirror.stored() == mirror.ever
    if isinstance(mirror.target, Stitch):
        assert_activated_in_stitch(mirror.target, first, second)


def assert_activated_in_stitch(target: Stitch, *runs: Piped) -> None:
    """Stitch would get each version's rows, and at their end word that these are all."""
    for table in MIRRORED:
        last = {each["table_version"]: each["messages"][-1] for each in target.requests(table)}
        assert list(last) == [activated(run)[table] for run in runs]
        assert {each["action"] for each in last.values()} == {"activate_version"}
