"""The command line's options and their help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from tap_listrak import __version__
from tap_listrak.about import FORMATS, describe, lay_out
from tap_listrak.config import OPTIONS
from tap_listrak.errors import FAILED, MISTAKE, REFUSED, STDOUT_CLOSED

EXIT_CODES = {
    0: "everything selected was emitted, or set aside in the state with a WARNING",
    FAILED: "the run failed, for the reason in its CRITICAL line; resume from the last STATE",
    MISTAKE: "the command line, config, catalog or state has a mistake; nothing was requested",
    REFUSED: "Listrak refused the user, the address or the request",
    STDOUT_CLOSED: "stdout was closed (the target ended) or is full",
    130: "stopped by SIGINT; resume from the last STATE",
    143: "stopped by SIGTERM; resume from the last STATE",
}


class _Parser(argparse.ArgumentParser):
    """Hide arguments in errors, as they may be secrets, and build the long help only for --help."""

    def error(self, message: str) -> NoReturn:
        """Exit with argparse's message, without the arguments that it quotes."""
        flag = re.match(r"argument (-[\w/-]+): ", message)
        if re.search(
            r"^the following arguments|expected one argument$|: not allowed with", message
        ):
            shown = message
        elif flag:
            shown = f"{flag[0]}invalid value; see --help"
        else:
            shown = (
                "an argument is unknown (it is not shown, since it may be a secret). The keys of "
                "the config, such as `password`, go into a config file or a variable; see --help"
            )
        super().error(shown)

    def format_help(self) -> str:
        self.epilog = _epilog()
        return super().format_help()


def _epilog() -> str:
    return f"""\
first run:
  tap-listrak --config config.json --discover > new && mv new catalog.json
  tap-listrak --config config.json --catalog catalog.json | target-... > states
  test -s states && tail -n 1 states > state.json

later runs:
  tap-listrak --config config.json --catalog catalog.json --state state.json | ...

  To select a stream in the catalog, set "selected": true in its metadata, at the
  breadcrumb []. Without a catalog, the tap syncs what `select` in the config
  selects, or else nine streams. The target prints a state once rows are stored.

config:
  With --config ENV, variables such as TAP_LISTRAK_PASSWORD set the keys. Empty
  variables are ignored.

{lay_out(((name, describe(option)) for name, option in OPTIONS.items()), 22)}

environment:
  TAP_LISTRAK_LOGLEVEL (or LOGLEVEL): DEBUG, INFO, WARNING, ERROR or CRITICAL
  TAP_LISTRAK_LOG_FORMAT: text, or json for one JSON object per line
  HTTPS_PROXY, REQUESTS_CA_BUNDLE: a proxy, and certificates of your own

exit codes:
{lay_out(((str(code), meaning) for code, meaning in EXIT_CODES.items()), 4)}
"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. Raises SystemExit after --help, --version or a mistake."""
    parser = _Parser(
        prog="tap-listrak",
        description="Copy a Listrak account (lists, messages, and what each contact did with each\n"
        "message) to stdout as Singer messages. Logs go to stderr.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        action="append",
        help="the config, in JSON, or ENV for the environment; if given several times, later ones "
        "override earlier ones, key by key",
    )
    parser.add_argument(
        "-s", "--state", metavar="FILE", help="the last state of an earlier run, in JSON"
    )
    parser.add_argument(
        "-p", "--properties", metavar="FILE", help="old name of --catalog, with the same effect"
    )
    parser.add_argument("--catalog", metavar="FILE", help="which streams and columns to sync")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("-d", "--discover", action="store_true", help="print the catalog and exit")
    instead.add_argument(
        "--test",
        nargs="?",
        const="all",
        choices=("all", "records", "schema"),
        help="request one page of each selected stream (without a catalog or `select`: of every "
        "stream), print a summary to stderr and exit; all three values mean the same",
    )
    instead.add_argument(
        "--about", action="store_true", help="print the tap's description and settings, and exit"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="the format of --about (default: text)"
    )
    parser.add_argument("--version", action="version", version=f"tap-listrak {__version__}")
    arguments = parser.parse_args(argv)
    if not arguments.about and not arguments.config:
        parser.error("the following arguments are required: -c/--config")
    return arguments
