"""Commands, flags and settings that the documents name exist.

`walk_documentation.py` runs the commands as well.
"""

from __future__ import annotations

import fnmatch
import re
import runpy
from collections.abc import Mapping
from typing import Any

import pytest
from documented_commands import (
    DOCUMENTS,
    MODULES,
    OTHER_PROGRAMS,
    ROOT,
    document_commands,
    find_spans,
    help_examples,
    refused_commands,
)  # fmt: skip

from r2m.cli.config_names import installed_configs

COMMANDS = [*document_commands(), *help_examples()]
# Flags of other programs that are mentioned in the text, and flags of all our commands.
OTHER_FLAGS = {"batching_parameters_file", "install", "logdir", "help", "version"}


def test_scripts_take_the_flags_of_every_command() -> None:
    ours = [command for command in COMMANDS if command.words[0] in MODULES]
    assert len(ours) > 250
    assert refused_commands(ours) == ""


def test_every_other_command_can_be_run() -> None:
    """Programs are known, and extras, targets of make and scripts exist."""
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    for command in COMMANDS:
        program, *words = command.words
        program = program.rpartition("/")[2]
        if program.startswith("r2m"):
            names = [*MODULES, "r2m-COMMAND"]
            assert fnmatch.filter(names, program), command
            continue
        assert program in OTHER_PROGRAMS, command
        if program == "pip":
            for extra in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
                assert re.search(rf"^{extra} = ", extras, re.M), command
        elif program == "make":
            assert set(words) <= set(targets), command
        elif program == "python" and words[0].endswith(".py"):
            assert (ROOT / words[0]).is_file(), command


@pytest.fixture(scope="module")
def known_flags() -> set[str]:
    """Flags that any script defines, and those of other programs, as WORKSPACE.md compares them."""
    sources = [path.read_text() for path in (ROOT / "r2m" / "cli").glob("*.py")]
    table = (
        (ROOT / "WORKSPACE.md").read_text().partition("| original | R2M |")[2].partition("\n\n")[0]
    )
    there = re.findall(r"^\| (.*?) \|", table, re.M)
    theirs = set(re.findall(r"--(\w+)", "\n".join(there)))
    return OTHER_FLAGS | theirs | set(re.findall(r'"(\w+)"', "\n".join(sources)))


def test_flags_and_settings_within_sentences_exist(known_flags: set[str]) -> None:
    settings: dict[str, Any] = {}
    for file in installed_configs().values():
        _add(runpy.run_path(str(file))["get_config"]().to_dict(), settings)
    unknown = []
    for place, text in (span for document in DOCUMENTS for span in find_spans(document)):
        for flag in re.findall(r"(?:^|\s)--(\w+(?:\.\w+)*)(?![\w-])", text.replace(".FIELD", "")):
            first, *names = flag.split(".")
            found = settings if names else {}
            for name in names:
                found = (found or {}).get(name)
            if found is None or not {first, first.removeprefix("no")} & known_flags:
                unknown.append(f"{place}: --{flag}")
    assert "\n".join(unknown) == ""


def _add(fields: Mapping[str, Any], known: dict[str, Any]) -> None:
    """Adds the fields of a configuration, and those of its parts, to the known ones."""
    for name, value in fields.items():
        known.setdefault(name, {})
        if isinstance(value, dict):
            _add(value, known[name])


# Flags of the commands in the READMEs of self-critical.pytorch, the Object Relation Transformer and
# the spatial transformer.
README_SPELLINGS = """
    prepro_labels.py prepro_ngrams.py prepro_feats.py make_bu_data.py prepro_areas.py
    prepro_bbox_relative_coords.py prepro_reference_json.py copy_model.sh eval_ensemble.py
    create_report.py spatial_pe relation_transformer topdown show_tell
    id caption_model input_json input_fc_dir input_att_dir input_box_dir input_rel_box_dir
    input_img_feat_dir input_grid_vec_dir input_label_h5 checkpoint_path start_from cached_tokens
    noamopt noamopt_warmup reduce_on_plateau use_warmup batch_size learning_rate label_smoothing cfg
    learning_rate_decay_start scheduled_sampling max_epochs num_layers input_encoding_size rnn_size
    ff_size img_feat_size use_box num_grids enc_pos_embedding enc_pos_type cross_attn grad_clip
    save_checkpoint_every perform_validation_every val_images_use language_eval
    self_critical_after structure_after structure_loss_type train_sample_n train_sample_method
    dump_images dump_json num_images model infos_path image_root image_folder split
    sample_max sample_method sample_n beam_size temperature length_penalty max_ppl group_size
    diversity_lambda block_trigrams decoding_constraint remove_bad_endings suppress_UNK
"""


def test_spellings_of_the_original_readmes_have_a_row() -> None:
    text = (ROOT / "WORKSPACE.md").read_text().partition("| original | R2M |")[2]
    there = re.findall(r"^\| (.*?) \|", text.partition("\n\n")[0], re.M)
    spelled = set(re.findall(r"\w[\w.]*\w", "\n".join(there)))
    missing = [
        name
        for name in README_SPELLINGS.split()
        if not any(word.startswith(name) for word in spelled)
    ]
    assert not missing
