"""Lists the training runs below a folder, or compares the settings of several runs.

    r2m-runs --workspace=workspace
    r2m-runs --compare=workspace/runs/shapes/xe --compare=workspace/runs/other/xe

A run is `running`, `finished`, `stopped` (start its command again to resume) or `damaged`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from r2m.cli.flag_groups import INPUT, OUTPUT
from r2m.cli.launch import home, run
from r2m.cli.value_flags import define_switch, define_text, define_texts

_WORKSPACE = define_text(
    "workspace",
    None,
    "Folder that is searched for runs. Default: $R2M_HOME, or `workspace` if it is not set.",
    group=INPUT,
    value="FOLDER",
)
_COMPARE = define_texts(
    "compare",
    [],
    "Run folder, given at least twice: shows the settings in which these runs differ, instead of "
    "the list.",
    group=INPUT,
    value="FOLDER",
)
_JSON = define_switch("json", False, "Print JSON instead of a table.", group=OUTPUT)


def main(argv: Sequence[str]) -> None:
    """Prints the list or the comparison."""
    del argv
    if _COMPARE.value:
        _print_comparison(_COMPARE.value)
    else:
        _print_runs(Path(_WORKSPACE.value or home()))


def _print_runs(workspace: Path) -> None:
    from r2m.engine.monitoring.run_list import find_runs
    from r2m.engine.monitoring.text_tables import aligned

    runs = find_runs(workspace)
    if _JSON.value:
        print(json.dumps([dataclasses.asdict(found) for found in runs], default=str, indent=1))
        return
    rows = [("run", "experiment", "stage", "step", "best", "changed", "state")]
    for found in runs:
        best = "-"
        if found.best_value is not None:
            best = f"{found.best_metric} {found.best_value:.4f} at {found.best_step}"
        rows.append(
            (
                str(found.folder.relative_to(workspace)),
                found.experiment,
                found.stage,
                f"{found.step}/{found.steps}",
                best,
                f"{found.changed:%Y-%m-%d %H:%M:%S}",
                found.state,
            )
        )
    print(aligned(rows, right=(3,)))


def _print_comparison(folders: Sequence[str]) -> None:
    from r2m.configuration.earlier_versions import upgrade_settings
    from r2m.engine.monitoring.run_list import compare_configs
    from r2m.engine.monitoring.text_tables import aligned

    differences = compare_configs(folders, upgrade_settings)
    if _JSON.value:
        print(json.dumps({"runs": folders, "differences": differences}, indent=1))
    elif not differences:
        print("no setting differs")
    else:
        rows = [[name, *map(_shown, values)] for name, values in differences.items()]
        print(aligned([["setting", *folders], *rows]))


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


def console() -> None:
    """Runs the command as a console script."""
    run(main, uses_tensorflow=False)


if __name__ == "__main__":
    console()
