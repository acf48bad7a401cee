"""Imports the original visual-semantic embedding of Kiros et al. as a run.

    r2m-import-embedding --weights=f8k.npz --output=workspace/runs/kiros_f8k

The files `f8k.npz.pkl` and `f8k.npz.dictionary.pkl`, as saved by the released code, must be in the
same folder. They are read as data: no code in them is run. The new run supports evaluation, search
and further training (--init_from) like any other. It reads images as VGG-19 vectors from records.
"""

from __future__ import annotations

from collections.abc import Sequence

from r2m.cli.flag_groups import INPUT, OUTPUT
from r2m.cli.launch import run
from r2m.cli.value_flags import define_text

_WEIGHTS = define_text(
    "weights", None, "The .npz file of the weights.", required=True, group=INPUT, value="FILE"
)
_OUTPUT = define_text(
    "output", None, "Folder of the new run.", required=True, group=OUTPUT, value="FOLDER"
)


def main(argv: Sequence[str]) -> None:
    """Writes the run and prints its properties."""
    from r2m.inference.kiros_import import import_kiros

    del argv
    found = import_kiros(_WEIGHTS.value, _OUTPUT.value)
    words = len(found.vocabulary)
    print(f"{found.path}: {found.size} dimensions, {words} words and markers")
    print(f"evaluate: r2m-evaluate-retrieval --run={found.path} --records=FOLDER")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
