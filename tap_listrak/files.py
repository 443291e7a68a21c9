"""Read JSON files, and the config from files and the environment."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tap_listrak.config import (
    ENVIRONMENT,
    FORMAT_VARIABLE,
    LEVEL_VARIABLE,
    OPTIONS,
    PREFIX,
    variable_of,
)
from tap_listrak.errors import UsageError

LOGGER = logging.getLogger(__name__)


def load(path: str, what: str) -> object:
    """Read a JSON file. Raises UsageError that names the file and quotes none of its content."""
    name = f"the {what} file {path}"
    if not os.path.exists(path) and not re.fullmatch(r"[\w./~-]+\.json", path):
        # A config or a password may have been passed instead of a file name.
        name = f"the {what} file (its name is not shown, since it does not end in .json)"
    try:
        text = Path(path).read_text("utf-8-sig")
        if what == "state" and not text.strip():
            LOGGER.warning("The state file %s is empty: the sync starts at start_date.", path)
            return {}
        return json.loads(text)
    except OSError as exc:
        # The original contains the name.
        raise UsageError(f"Cannot read {name}: {exc.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"Cannot read {name}: it is not text in UTF-8.") from None
    except RecursionError as exc:
        raise UsageError(f"Cannot read {name}: it is nested too deeply.") from exc
    except json.JSONDecodeError as exc:
        is_one_of_several = what == "state" and exc.msg == "Extra data"
        hint = " Pass only the last state that the target printed." if is_one_of_several else ""
        raise UsageError(
            f"Cannot read {name}: it is not JSON: {exc.msg} (line {exc.lineno}, column "
            f"{exc.colno}).{hint}"
        ) from None  # the original contains the file, with its secrets
    except ValueError:
        raise UsageError(f"Cannot read {name}: it has a number that is too long.") from None


def read_configs(
    names: Sequence[str], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Merge config files, where the name ENV means `environ`; later ones override, key by key.

    Return the values and the source of each key. Raises UsageError that names the file.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name in names:
        config = _read_environment(environ) if name == ENVIRONMENT else load(name, "config")
        if not isinstance(config, Mapping):
            raise UsageError(f"Invalid config file {name}: must be a JSON object; see --help.")
        values.update(config)
        for key in config:
            from_variable = name == ENVIRONMENT and key in OPTIONS
            sources[key] = variable_of(key) if from_variable else name
    return values, sources


def _read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the config from the environment; empty variables are ignored.

    Unknown variables keep their full name. Those with a double underscore are Meltano's.
    """
    keys = {variable_of(key): key for key in OPTIONS}
    return {
        keys.get(name, name): value
        for name, value in environ.items()
        if name.startswith(PREFIX)
        and not name.startswith(f"{PREFIX}_")
        and value
        and name not in (LEVEL_VARIABLE, FORMAT_VARIABLE)
    }
