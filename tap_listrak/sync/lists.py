"""The lists that a run is about."""

from __future__ import annotations

import logging

from tap_listrak.errors import TapError

LOGGER = logging.getLogger(__name__)


def choose_lists(shown: frozenset[int], wanted: frozenset[int] | None) -> tuple[int, ...]:
    """Return the ListIDs, in order, that Listrak shows and the config's `list_ids` wants.

    Raises TapError where there are none.
    """
    if not shown:
        raise TapError(
            "Listrak shows this user no lists. Grant it the lists to sync under Manage, Accounts, "
            "User Manager."
        )
    if wanted is None:
        return tuple(sorted(shown))
    if wanted - shown:
        unknown = ", ".join(map(str, sorted(wanted - shown)))
        LOGGER.warning("Listrak does not show these of the config's list_ids: %s.", unknown)
    if not wanted & shown:
        raise TapError("None of the config's `list_ids` is a list that Listrak shows this user.")
    return tuple(sorted(wanted & shown))
