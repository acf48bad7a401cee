"""Command line: one module per command, which `r2m` and `r2m-COMMAND` run."""

import sys

from r2m.own_packages import hidden_packages

# Here, because Python runs this before it imports anything that a script needs.
if message := hidden_packages():
    sys.exit(f"\nerror: {message}")
