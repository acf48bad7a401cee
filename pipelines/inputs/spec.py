"""Set of the model inputs of a captioner: converts records or image files to tensors."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import tensorflow as tf

from models.captioners.base import Inputs
from pipelines.batching import Batch, Rows
from pipelines.inputs.model_input import ImageBatch, ModelInput, input_class
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records

PICTURES = "image"  # column of image files
_Kind = TypeVar("_Kind", bound=ModelInput)


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """Model inputs of a captioner, or of an ensemble.

    Attributes:
        inputs: kinds with their settings, in the order of `models.captioners.base.Inputs`.
    """

    inputs: tuple[ModelInput, ...]

    def __post_init__(self) -> None:
        """Raises `ValueError` for a tensor with different definitions, or boxes of other rows."""
        for number, one in enumerate(self.inputs):
            for other in self.inputs[:number]:
                if shared := set(one.tensors) & set(other.tensors):
                    raise ValueError(_difference(other, one, min(shared)))
                if not _fit(one, other):
                    made = (", ".join(each.tensors) for each in (other, one))
                    raise ValueError(f"compute {' and '.join(made)} from different rows")

    @classmethod
    def choose(
        cls, inputs: Inputs, config: Any, available: Collection[str], *, model: str, where: str
    ) -> InputSpec:
        """Selects the inputs of a captioner from the columns of records.

        Args:
            inputs: inputs of the captioner's class.
            config: configuration of the experiment: sections `data` and `image`.
            available: columns of the records, or the columns that a trained run reads.
            model: model that reads the inputs, for messages: `captioner updown`.
            where: source of the columns, for messages.

        Raises:
            InputError: a setting is invalid, or the columns of a required input are missing.
        """
        forms: list[list[ModelInput | None]] = []
        for name in inputs.kinds:
            kind = input_class(name)
            try:
                candidates = kind.candidates(config)
                if name in inputs.required:
                    candidates = [*candidates, *kind.substitutes(config)]
            except (ValueError, TypeError) as error:
                raise InputError(f"config.{kind.section}: {error}") from error
            usable = [one for one in candidates if set(one.columns) <= set(available)]
            if not usable and name in inputs.required:
                columns = dict.fromkeys(" with ".join(one.columns) for one in candidates)
                raise InputError(
                    f"{where}: {model} needs {' or '.join(columns)}, which these records "
                    f"do not contain; {candidates[0].advice('captions', available)}"
                )
            forms.append([*usable, *([] if name in inputs.required else [None])])
        # The first combination of variants that describe the same rows.
        for choice in itertools.product(*forms):
            chosen = [one for one in choice if one is not None]
            if all(_fit(one, other) for one, other in itertools.combinations(chosen, 2)):
                return cls(tuple(chosen))
        raise InputError(
            f"{where}: {model} takes {', '.join(inputs.kinds)}, and these records contain "
            "none that describe the same rows"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read from records."""
        return tuple(dict.fromkeys(column for one in self.inputs for column in one.columns))

    @property
    def stored(self) -> tuple[str, ...]:
        """Columns that were computed when records were built: all except the pictures."""
        return tuple(column for column in self.columns if column != PICTURES)

    def find(self, kind: type[_Kind]) -> _Kind | None:
        """Returns the input of a kind, or None."""
        return next((one for one in self.inputs if isinstance(one, kind)), None)

    def check(self, records: Records) -> None:
        """Raises `InputError` if records lack a column that is read."""
        available = records.feature_names
        for one in self.inputs:
            for column in one.columns:
                if column in available:
                    continue
                advice = one.advice(records.kind, available)
                if column == PICTURES:
                    raise InputError(
                        f"{records.folder}: these records contain no pictures, which "
                        f"image.source=pixels needs; {advice}"
                    )
                others = [name for name in available if name.endswith("_feature")]
                found = f", only {', '.join(others)}" if others else ""
                raise InputError(
                    f"{records.folder}: these records have no {column}{found}; {advice}"
                )

    def assemble(self, rows: Rows) -> Batch:
        """Converts parsed rows to tensors; see `ModelInput.assemble`."""
        return {name: x for one in self.inputs for name, x in one.assemble(rows).items()}

    def finish(self, batch: Batch) -> Batch:
        """Runs expensive operations on the rows of a process; see `ModelInput.finish`."""
        for one in self.inputs:
            batch = one.finish(batch)
        return batch

    def from_images(self, images: ImageBatch) -> Batch:
        """Computes the tensors of image files."""
        return {name: x for one in self.inputs for name, x in one.from_images(images).items()}

    def signature(
        self, saved: Mapping[str, tf.TensorSpec] | None = None
    ) -> dict[str, tf.TensorSpec]:
        """Returns the signature of the tensors, given the one that a run has saved."""
        return {
            name: spec for one in self.inputs for name, spec in one.signature(saved or {}).items()
        }

    def sizes(self, signature: Mapping[str, tf.TensorSpec]) -> dict[str, int | None]:
        """Returns the sizes of a captioner's inputs, for `build_captioner`."""
        return {name: size for one in self.inputs for name, size in one.sizes(signature).items()}

    def union(self, other: InputSpec) -> InputSpec:
        """Returns the inputs of both; raises `ValueError` if they compute a tensor differently."""
        return InputSpec(tuple(dict.fromkeys((*self.inputs, *other.inputs))))

    def evaluated(self) -> InputSpec:
        """Returns these inputs without settings that only affect training."""
        return InputSpec(tuple(one.evaluated() for one in self.inputs))


def _fit(one: ModelInput, other: ModelInput) -> bool:
    return one.fits(other) and other.fits(one)


def _difference(one: ModelInput, other: ModelInput, tensor: str) -> str:
    """Describes the difference of two inputs that compute the same tensor."""
    if type(one) is type(other):
        fields = [field.name for field in dataclasses.fields(one)]  # type: ignore[arg-type]
        differ = [name for name in fields if getattr(one, name) != getattr(other, name)]
        names = ", ".join(f"{one.section}.{name}" for name in differ)
        return f"differ in {names}: they cannot share {tensor}"
    read = " and from ".join(", ".join(each.columns) for each in (one, other))
    return f"compute {tensor} from {read}: they cannot share {tensor}"
