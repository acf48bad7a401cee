"""Command line: one module per command, which `r2m` and `r2m-COMMAND` run."""

from r2m.cli.packages import require_own_packages

# Here, because Python runs this before it imports anything that a script needs.
require_own_packages()
