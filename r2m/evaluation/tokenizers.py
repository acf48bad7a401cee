"""Tokenizers of captions for scoring; scores are only comparable with the same tokenizer.

- `ptb`: Stanford's PTBTokenizer with pycocoevalcap's options, for scores comparable with papers.
- `ptb_python`: Python reimplementation, for machines without Java and for scoring during training.
- `characters`, `icu`: for scripts that are written without spaces, see
  `tfrecords.core.segmentation`; lower-case words without punctuation. METEOR always splits
  Chinese into characters.
"""

from __future__ import annotations

from collections.abc import Sequence

from r2m.evaluation import java
from r2m.evaluation.ptb import PUNCTUATION, one_line
from r2m.evaluation.ptb import tokenize as tokenize_in_python
from tfrecords.core.errors import InputError
from tfrecords.core.segmentation import SEGMENTERS, check_segmenter
from tfrecords.language.tokenization import tokenize as words_of

_SEGMENTING = tuple(name for name in SEGMENTERS if name != "words")
TOKENIZERS = ("ptb", "ptb_python", *_SEGMENTING)
_JAR = ("tokenizer", "stanford-corenlp-3.4.1.jar")
_MAIN = "edu.stanford.nlp.process.PTBTokenizer"


def choose(name: str = "auto") -> str:
    """Returns the name of the tokenizer to use.

    Args:
        name: `auto` (ptb if Java is installed, else ptb_python) or one of `TOKENIZERS`.

    Raises:
        InputError: the name is unknown, `ptb` is given without Java, or `icu` without its package.
    """
    if name not in ("auto", *TOKENIZERS):
        raise InputError(f"unknown tokenizer {name!r}; known: auto, {', '.join(TOKENIZERS)}")
    if name in _SEGMENTING:
        check_segmenter(name)
    if name in ("ptb_python", *_SEGMENTING):
        return name
    try:
        java.java()
        java.jar(*_JAR)
    except java.JavaError as error:
        if name == "ptb":
            raise InputError(
                f"the tokenizer 'ptb' cannot run: {error}; use 'ptb_python'"
            ) from error
        return "ptb_python"
    return "ptb"


def tokenizer_for(segmenter: str, name: str = "auto") -> str:
    """Returns the tokenizer for words of a segmenter: the segmenter, unless another is given.

    Args:
        segmenter: segmenter of the vocabulary that captions are made with.
        name: `auto`, or one of `TOKENIZERS`, which takes precedence.
    """
    return segmenter if name == "auto" and segmenter in _SEGMENTING else name


def tokenize(captions: Sequence[str], name: str, *, timeout: float = 600.0) -> list[str]:
    """Tokenizes captions.

    Args:
        captions: any text; line breaks count as spaces.
        name: one of `TOKENIZERS`.
        timeout: maximum time of Java, in seconds.

    Returns:
        As many strings, in order: lower-case tokens joined by single spaces, without punctuation.
        A caption that contains only punctuation becomes ''.

    Raises:
        InputError: the tokenizer is unknown.
        java.JavaError: Java failed or did not finish in time.
    """
    if name == "ptb_python":
        return [tokenize_in_python(caption) for caption in captions]
    if name in _SEGMENTING:
        return [" ".join(words_of(caption, segmenter=name)) for caption in captions]
    if name == "ptb":
        return _ptb(captions, timeout)
    raise InputError(f"unknown tokenizer {name!r}; known: {', '.join(TOKENIZERS)}")


def _ptb(captions: Sequence[str], timeout: float) -> list[str]:
    # pycocoevalcap's class is not used: it writes to its own package folder, uses the locale's
    # encoding, has no timeout, and shifts all captions after a line break other than \n.
    lines = [one_line(caption) for caption in captions]
    if not lines:
        return []
    output = java.run_java(
        ["-cp", str(java.jar(*_JAR)), _MAIN, "-preserveLines", "-lowerCase"],
        # An empty last line would not be printed; the full stop is removed below.
        text="\n".join([*lines, "."]) + "\n",
        timeout=timeout,
    )
    tokenized = output.split("\n")[:-1]
    if len(tokenized) != len(lines) + 1:
        raise java.JavaError(
            f"PTBTokenizer returned {len(tokenized)} lines for {len(lines) + 1} captions"
        )
    return [
        " ".join(token for token in line.split() if token not in PUNCTUATION)
        for line in tokenized[:-1]
    ]
