"""Command line scripts: one absl script a job."""

from r2m.cli.packages import require_own_packages

# Here, because Python runs this before it imports anything that a script needs.
require_own_packages()
