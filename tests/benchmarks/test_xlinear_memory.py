"""Memory of one X-linear layer, forward and backward, compared with the published form.

pytest tests/benchmarks/test_xlinear_memory.py -s
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def measured(form: str) -> dict[str, Any]:
    """Returns the report of `xlinear_memory.py`."""
    script = Path(__file__).with_name("xlinear_memory.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    command = [sys.executable, str(script), form]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print("\n", json.dumps(report))
    return report


def test_a_layer_of_the_published_size_takes_less_than_a_gib() -> None:
    ours, published = measured("ours"), measured("published")
    assert ours["peak_gib"] < 1.0
    assert ours["peak_gib"] < published["peak_gib"] / 2
