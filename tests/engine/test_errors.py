"""Shortened messages of TensorFlow."""

from __future__ import annotations

import pytest

from r2m.engine.errors import plain_message

GRAPH = """\
Graph execution error:

Detected at node while/IteratorGetNext defined at (most recent call last):
  File "a.py", line 11, in <module>

  File "b.py", line 9, in run

Socket closed
Additional GRPC error information from remote target /job:worker/replica:0/task:0:
:UNKNOWN:Error received from peer
\t [[{{node while/IteratorGetNext}}]] [Op:__inference_run_80]"""

LOADED = """\
Graph execution error:

Detected at node while/ArgMax defined at (most recent call last):
<stack traces unavailable>
Reduction axis 1 is empty in shape [1,0]
\t [[{{node while/ArgMax}}]] [Op:__inference_signature_wrapper_9]"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (GRAPH, "Socket closed"),
        (LOADED, "Reduction axis 1 is empty in shape [1,0]"),
        ("{{function_node __wrapped__Next_device_/job:a}} cut off at 67 [Op:Next] name: ",
         "cut off at 67"),
        ("in a user's function: {{function_node f}} not a PNG [[{{node DecodePng}}]]",
         "in a user's function: not a PNG"),
        ("No space left", "No space left"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_line_that_says_what_happened(message: str, expected: str) -> None:
    assert plain_message(message) == expected
