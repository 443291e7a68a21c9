"""The entry point of the console script and of ``python -m tap_listrak``."""

import signal
import sys


def main() -> int:
    """Run the tap and return its exit code."""
    # Until cli handles signals, SIGINT ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tap_listrak import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
