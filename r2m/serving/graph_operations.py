"""Detection of operations of SavedModels that affect more than the model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfrecords.core.errors import InputError

# They read or write files, call Python, or connect to other machines. Weights are restored by
# functions that no signature calls.
_REFUSED = re.compile(
    r"(Experimental)?(Read|Write|Matching|WholeFile|TextLine|TFRecord|FixedLengthRecord|LMDB)"
    r"(File|Files|Reader)\w*"
    r"|\w*(TextLine|TFRecord|FixedLengthRecord|CSV|LMDB|Sql|Cache|Snapshot|Save|Load|DataService)"
    r"\w*Dataset\w*"
    r"|(DTensor)?(Save|Restore|MergeV2Checkpoints|LoadAndRemap|GenerateVocabRemapping)\w*"
    r"|\w*(DatasetToTFRecord|DistributedSave|CalibrationStatisticsSaver|PyFunc|ImportEvent"
    r"|SummaryFileWriter|SummaryDbWriter|DebugIdentity|DebugNanCount|DebugNumericSummary)\w*"
    r"|InitializeTableFromTextFile\w*|RegisterDataset\w*|Rpc\w*|RemoteCall|DumpTensor\w*"
    r"|RecordInput|Skipgram|FixedUnigramCandidateSampler|FileSystemSetConfiguration"
    r"|(Decode|Encode)Proto\w*"
)


def check_operations(graph: Any, folder: Path) -> None:
    """Rejects a graph that could do more than compute, because an export may be untrusted.

    Args:
        graph: `MetaGraphDef` of a SavedModel.
        folder: folder of the SavedModel, for messages.

    Raises:
        InputError: the graph contains such an operation, or was not made by TensorFlow 2.
    """
    functions = graph.object_graph_def.concrete_functions
    if not functions:
        raise InputError(f"{folder}: not a SavedModel of TensorFlow 2; export it with r2m-export")
    gradients = [own.gradient_func for own in graph.graph_def.library.gradient]
    operations = set(_operations(graph, [*functions, *gradients]))
    found = sorted(name for name in operations if _REFUSED.fullmatch(name))
    if found:
        raise InputError(
            f"{folder}: the graph contains {', '.join(found)}: operations that reach "
            "beyond the model are not run; export it with r2m-export"
        )


def _operations(graph: Any, waiting: list[str]) -> Iterator[str]:
    """Yields the operations of functions and of all functions that these call."""
    library = {own.signature.name: own for own in graph.graph_def.library.function}
    seen = set(waiting)
    while waiting:
        function = library.get(waiting.pop())
        for node in () if function is None else function.node_def:
            # Prints to a file instead of standard error.
            to_file = node.attr["output_stream"].s.startswith(b"file:") if "Print" in node.op else 0
            yield "WriteFile" if to_file else node.op
            called = [node.op]
            for value in node.attr.values():
                called += [value.func.name, *(own.name for own in value.list.func)]
            for name in called:
                if name in library and name not in seen:
                    seen.add(name)
                    waiting.append(name)
