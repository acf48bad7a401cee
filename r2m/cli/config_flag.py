"""The flag --config: a configuration file, an argument behind a colon, and fields to override."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import configs
from r2m.stages.config_checks import unknown_field
from r2m.stages.config_fields import flattened
from tfrecords.errors import InputError

_HELP = (
    "Settings of the experiment, a file such as configs/r2m/flickr8k.py or "
    "configs/captioners/updown.py:flickr8k. Override any of them with --config.FIELD=VALUE, for "
    "example --config.training.log_every=50."
)


def define_config_flag() -> flags.FlagHolder[Any]:
    """Defines --config; errors in it and in its fields end in one message."""
    holder: flags.FlagHolder[Any] = config_flags.DEFINE_config_file("config", None, _HELP)
    flags.FLAGS["config"].parser = _ConfigFiles()
    for kind, expected in ((int, "a whole number"), (float, "a number"), (str, "text")):
        config_flags.register_flag_parser_for_type(kind, _Plain(kind, expected))
    config_flags.register_flag_parser_for_type(bool, _Switch())
    return holder


def config_file() -> str:
    """The file that --config names, for messages."""
    flag: Any = flags.FLAGS["config"]
    return str(flag.config_filename)


class _ConfigFiles(flags.ArgumentParser):
    """Reads a configuration file; what goes wrong becomes the message of a flag error."""

    def parse(self, argument: str) -> ConfigDict:
        """The locked configuration of FILE or FILE:ARGUMENT.

        Raises:
            ValueError: there is no such file, it cannot be run, it refuses the argument, or a field
                that the command line overrides is not in it.
        """
        file, colon, word = argument.partition(":")
        config = _load(file, (word,) if colon else ())
        config.lock()
        _check_overrides(config, file)
        return config

    def flag_type(self) -> str:
        """For --help."""
        return "config file"


class _Plain(flags.ArgumentParser):
    """Reads a value of one type, or None; whether None is right is not checked here."""

    def __init__(self, kind: type, expected: str) -> None:
        self._kind, self._expected = kind, expected

    def parse(self, argument: Any) -> Any:
        """The value that `argument` is, or stands for."""
        if not isinstance(argument, str):
            return argument  # the configuration's own
        if argument == "None":
            return None
        try:
            return self._kind(argument)
        except ValueError:
            raise ValueError(f"expected {self._expected}") from None

    def flag_type(self) -> str:
        """For --help."""
        return self._kind.__name__


class _Switch(flags.BooleanParser):
    """Reads True, False or None."""

    def parse(self, argument: Any) -> Any:
        """The value that `argument` stands for."""
        if argument in (None, "None"):
            return None
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("expected true or false") from None


def _load(file: str, arguments: tuple[str, ...]) -> ConfigDict:
    path = Path(file)
    if not path.is_file():
        raise InputError(_no_such_file(file))
    # Under a name of its own: a file may be called as a module is.
    loader = SourceFileLoader("r2m_config_file", file)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = sys.modules[loader.name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise InputError(
                f"{file} has no function get_config: it is no configuration; {_shipped_files()}"
            )
        config = module.get_config(*arguments)
    except InputError:
        raise
    except Exception as error:
        raise InputError(_failure(file, arguments, error)) from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"{file}: get_config returns {type(config).__name__}, not a ConfigDict")
    return config


def _no_such_file(file: str) -> str:
    if Path(file).is_dir():
        return f"a folder, not a file; {_shipped_files()}"
    known = {f"configs/{name}": path for name, path in _shipped().items()}
    near = difflib.get_close_matches(file, known, n=1) or [
        name for name in known if name.endswith("/" + Path(file).name)
    ]
    if not near:
        return f"there is no such file; {_shipped_files()}"
    # As it has to be typed here: the project may be another folder.
    path = near[0] if Path(near[0]).is_file() else os.path.relpath(known[near[0]])
    where = "" if Path(file).is_absolute() else f" in {Path.cwd()}"
    return f"there is no such file{where}; did you mean {path}?"


def _shipped() -> dict[str, Path]:
    """The configurations of this project by their paths below `configs`."""
    folder = Path(configs.__path__[0])
    found = sorted(path for path in folder.glob("*/*.py") if path.name != "__init__.py")
    return {str(path.relative_to(folder)): path for path in found if path.name != "base.py"}


def _shipped_files() -> str:
    return "configurations are " + ", ".join(f"configs/{name}" for name in _shipped())


def _failure(file: str, arguments: tuple[str, ...], error: Exception) -> str:
    """Returns the message for an exception of a configuration file, with the line of the file."""
    if isinstance(error, SyntaxError):
        # No line of a file that is not text.
        where = f"{error.filename}:{error.lineno}" if error.lineno else file
        return f"{where}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    if not lines:  # get_config could not be called
        given = f"the argument {arguments[0]!r}" if arguments else "no argument"
        return f"{file}: get_config cannot be called with {given}: {error}"
    # A configuration that refuses its argument says all there is to say.
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
