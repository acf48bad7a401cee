"""SPICE (Anderson et al., 2016), computed by the Java program in pycocoevalcap.

It requires Stanford CoreNLP 3.6.0 and its models, which pycocoevalcap downloads on first use. This
module never downloads them: without the files, the metric is reported as unavailable.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from r2m.evaluation import java

_JAR = ("spice", "spice-1.0.jar")
MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def why_unavailable() -> str | None:
    """Returns the reason why SPICE cannot be computed; None if it can."""
    try:
        java.java()
        folder = java.jar(*_JAR).parent / "lib"
    except java.JavaError as error:
        return str(error)
    missing = [name for name in MODELS if not (folder / name).is_file()]
    if missing:
        return (
            f"{' and '.join(missing)} missing in pycocoevalcap's folder spice/lib; take them from "
            "stanford-corenlp-full-2015-12-09.zip (R2M never downloads them)"
        )
    return None


def spice(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, timeout: float = 3600.0
) -> tuple[float, list[float]]:
    """Scores tokenized captions.

    Args:
        candidates: N tokenized captions; an empty one scores 0.
        references: N non-empty lists of tokenized references.
        timeout: seconds after which the program is killed.

    Returns:
        The mean F-score of the scene graphs and the N scores.

    Raises:
        java.JavaError: SPICE is unavailable, failed, or did not finish in time.
    """
    reason = why_unavailable()
    if reason is not None:
        raise java.JavaError(reason)
    rows = [
        {"image_id": index, "test": candidate, "refs": list(group)}
        for index, (candidate, group) in enumerate(zip(candidates, references, strict=True))
    ]
    with tempfile.TemporaryDirectory(prefix="spice-") as name:
        source, target = Path(name, "in.json"), Path(name, "out.json")
        source.write_text(json.dumps(rows), encoding="utf-8")
        command = ["-Xmx8G", "-jar", str(java.jar(*_JAR))]
        java.run_java(
            [*command, str(source), "-out", str(target), "-subset", "-silent"], timeout=timeout
        )
        try:
            results = json.loads(target.read_text(encoding="utf-8"))
            # A caption without a scene graph has no F-score and counts as 0.
            by_id = {row["image_id"]: row["scores"]["All"]["f"] or 0.0 for row in results}
            scores = [float(by_id[index]) for index in range(len(rows))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise java.JavaError(f"SPICE wrote no usable result: {error!r}") from error
    return sum(scores) / len(scores), scores
