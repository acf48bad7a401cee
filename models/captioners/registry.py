"""The supervised captioners by name."""

from __future__ import annotations

from typing import Any

from models.captioners.att2in import Att2in
from models.captioners.fc import FC
from models.captioners.recurrent import RecurrentCaptioner
from models.captioners.show_and_tell import ShowAndTell
from models.captioners.updown import UpDown

# name -> (class, arguments that make it so, the kinds of features it is shown)
_CAPTIONERS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "rnn": (ShowAndTell, {"kind": "rnn"}, ("regions",)),
    "lstm": (ShowAndTell, {"kind": "lstm"}, ("regions",)),
    "attention_lstm": (ShowAndTell, {"kind": "attention_lstm"}, ("regions",)),
    "fc": (FC, {}, ("global",)),
    "att2in": (Att2in, {"variant": "att2in"}, ("regions",)),
    "att2in2": (Att2in, {"variant": "att2in2"}, ("regions",)),
    "updown": (UpDown, {}, ("regions", "global")),
}
CAPTIONERS = tuple(_CAPTIONERS)
# Those whose `attended` tells where they look.
WITH_ATTENTION = ("attention_lstm", "att2in", "att2in2", "updown")
# Those that are shown the rows of a grid, as many in every image, and not regions.
OF_GRIDS = ("rnn", "lstm", "attention_lstm")
# Those that take the mean of the rows for the vector of an image that has none.
OF_MEANS = ("fc",)


def wanted_inputs(name: str) -> tuple[str, ...]:
    """Which of `global` and `regions` a captioner's `encode` takes, the necessary one first.

    Raises:
        ValueError: there is no such captioner.
    """
    return _known(name)[2]


def build_captioner(
    name: str,
    *,
    vocabulary_size: int,
    global_size: int | None,
    region_size: int | None,
    grid_cells: int | None,
    **settings: Any,
) -> RecurrentCaptioner:
    """A new captioner.

    Args:
        name: of `CAPTIONERS`.
        vocabulary_size: V, markers included.
        global_size: G, size of the image's vector; None where there is none.
        region_size: D, size of the rows of the image; None where there are none.
        grid_cells: L, where all images have as many; None otherwise.
        **settings: of the class; None is its default.

    Raises:
        ValueError: unknown name or setting, or the images lack what the model needs.
    """
    make, fixed, inputs = _known(name)
    of_rows = inputs[0] == "regions" or (name in OF_MEANS and global_size is None)
    sizes: dict[str, Any] = {"feature_size": region_size if of_rows else global_size}
    if sizes["feature_size"] is None:
        raise ValueError(f"captioner {name!r} needs {inputs[0]} features, which are not there")
    if make is ShowAndTell:
        if grid_cells is None:
            raise ValueError(f"captioner {name!r} needs a grid: as many cells in every image")
        sizes["grid_cells"] = grid_cells
    if make is UpDown:
        sizes["global_size"] = global_size
    chosen = {key: value for key, value in settings.items() if value is not None}
    built: RecurrentCaptioner = make(
        vocabulary_size=vocabulary_size, name=name, **sizes, **fixed, **chosen
    )
    return built


def _known(name: str) -> tuple[Any, dict[str, Any], tuple[str, ...]]:
    if name not in _CAPTIONERS:
        raise ValueError(f"unknown captioner {name!r}; known: {', '.join(CAPTIONERS)}")
    return _CAPTIONERS[name]
