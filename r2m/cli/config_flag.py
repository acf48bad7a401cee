"""Flag --config: a configuration file, an argument after a colon, and fields to override."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from importlib.machinery import SourceFileLoader
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from r2m.cli.config_names import find_config, hidden_name, list_names
from r2m.configuration.config_checks import unknown_field
from r2m.configuration.config_fields import flattened
from tfrecords.core.errors import InputError

_HELP = (
    "Settings of the experiment: the name of an installed configuration, or a Python file, with an "
    "argument after a colon where it takes one (updown:flickr8k, my_configs/wide.py). Names: "
    f"{list_names()}. Override any setting with --config.FIELD=VALUE, for example "
    "--config.training.precision=mixed_bfloat16; WORKSPACE.md lists the training settings."
)


def define_config_flag() -> flags.FlagHolder[Any]:
    """Defines --config; an error in it or in its fields is reported in one message."""
    holder: flags.FlagHolder[Any] = config_flags.DEFINE_config_file("config", None, _HELP)
    flags.FLAGS["config"].parser = _ConfigFiles()
    for kind, expected in ((int, "a whole number"), (float, "a number"), (str, "text")):
        config_flags.register_flag_parser_for_type(kind, _Plain(kind, expected))
    config_flags.register_flag_parser_for_type(bool, _Switch())
    return holder


def config_file() -> str:
    """Returns the value of --config, a file or a name, for messages."""
    flag: Any = flags.FLAGS["config"]
    return str(flag.config_filename)


class _ConfigFiles(flags.ArgumentParser):
    """Parser of configuration files; its errors are the messages of flag errors."""

    def parse(self, argument: str) -> ConfigDict:
        """Returns the locked configuration of FILE, FILE:ARGUMENT, NAME or NAME:ARGUMENT.

        Raises:
            InputError: no such file or name exists, the file cannot be run, it refuses the
                argument, or it lacks a field that the command line overrides.
        """
        file, colon, word = argument.partition(":")
        config = _load(file, (word,) if colon else ())
        config.lock()
        _check_overrides(config, file)
        return config

    def flag_type(self) -> str:
        """Returns the kind of value, for --help."""
        return "config file"


class _Plain(flags.ArgumentParser):
    """Parser of values of one type, or None; `check_config` decides where None is valid."""

    def __init__(self, kind: type, expected: str) -> None:
        self._kind, self._expected = kind, expected

    def parse(self, argument: Any) -> Any:
        """Returns the value of `argument`."""
        if not isinstance(argument, str):
            return argument  # the default of the configuration
        if argument == "None":
            return None
        try:
            return self._kind(argument)
        except ValueError:
            raise ValueError(f"expected {self._expected}") from None

    def flag_type(self) -> str:
        """Returns the kind of value, for --help."""
        return self._kind.__name__


class _Switch(flags.BooleanParser):
    """Parser of True, False or None."""

    def parse(self, argument: Any) -> Any:
        """Returns the value of `argument`."""
        if argument in (None, "None"):
            return None
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("expected true or false") from None


def _load(given: str, arguments: tuple[str, ...]) -> ConfigDict:
    file = str(find_config(given))
    # A separate module name: the file may have the name of an existing module.
    loader = SourceFileLoader("r2m_config_file", file)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = sys.modules[loader.name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError(
                f"{file} has no function get_config, so it is not a configuration; known names: "
                f"{list_names()}{hidden_name(given)}"
            )
        config = module.get_config(*arguments)
    except InputError:
        raise
    except Exception as error:
        problem = _failure(file, arguments, error) + hidden_name(given)
        raise InputError(problem) from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"{file}: get_config returns {type(config).__name__}, not a ConfigDict")
    return config


def _failure(file: str, arguments: tuple[str, ...], error: Exception) -> str:
    """Returns the message for an exception of a configuration file, with the line of the file."""
    if isinstance(error, SyntaxError):
        # A file that is not text has no line to name.
        where = f"{error.filename}:{error.lineno}" if error.lineno else file
        return f"{where}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if not lines:  # get_config could not be called
        given = f"the argument {arguments[0]!r}" if arguments else "no argument"
        return f"{file}: get_config cannot be called with {given}: {error}"
    # The message of a configuration that refuses its argument is complete.
    if isinstance(error, ValueError):
        return str(error)
    return f"{file}:{lines[-1]}: {type(error).__name__}: {error}"


def _check_overrides(config: ConfigDict, file: str) -> None:
    """Refuses --config.FIELD of fields that the configuration does not have, or of whole groups."""
    known = flattened(config.to_dict())
    for argument in flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False):
        match = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if match is None or match[1] in known:
            continue
        field = match[1]
        inside = [name for name in known if name.startswith(f"{field}.")]
        if inside:
            raise InputError(
                f"--config.{field} is a group of fields: set them one by one, as "
                f"--config.{inside[0]}=VALUE"
            )
        raise InputError(unknown_field(field, known, file))
