"""Lets ``python -m tap_listrak`` do what the console script does."""

import sys

from tap_listrak.cli import main

sys.exit(main())
