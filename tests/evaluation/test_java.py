"""Java programs: equal scores under every locale, and failures with their reason."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from r2m.evaluation import java, meteor, tokenizers
from r2m.evaluation.caption_scores import score_captions

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")

LOCALES = ("de_DE", "it_IT", "tr_TR", "fa_IR", "ar_EG", "th_TH")
CANDIDATES = ["a dog is running in THE field", "two men play", "café 3.5 I İstanbul"]
REFERENCES = [
    ["the dog runs in a field", "a dog runs"],
    ["two men are playing football"],
    ["a café in İstanbul"],
]
STACK_TRACE = b"""Picked up JAVA_TOOL_OPTIONS: -Duser.language=de
Exception in thread "main" java.util.InputMismatchException: For input string: "3.0"
\tat java.base/java.util.Scanner.throwFor(Scanner.java:939)
Caused by: java.lang.NumberFormatException: other
\t... 3 more
"""


def _set_locale(monkeypatch: pytest.MonkeyPatch, name: str, variable: str) -> None:
    """Sets the language of Java, also on a machine without the locale."""
    language, country = name.split("_")
    # The variant and extension of Thai and Arabic select non-ASCII digits.
    monkeypatch.setenv(
        variable,
        f"-Duser.language={language} -Duser.country={country} -Duser.language.format={language} "
        f"-Duser.variant={country} -Dfile.encoding=US-ASCII -Dstdout.encoding=US-ASCII",
    )
    monkeypatch.setenv("LC_ALL", f"{name}.UTF-8")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")


@needs_java
def test_scores_and_tokens_are_equal_under_all_locales(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without its table of paraphrases METEOR starts quickly; number formatting is the same.
    monkeypatch.setattr(meteor, "_OPTIONS", (*meteor._OPTIONS, "-m", "exact stem"))
    expected = meteor.meteor(CANDIDATES, REFERENCES)
    tokens = tokenizers.tokenize(CANDIDATES, "ptb")
    assert expected[0] > 0.3 and tokens[2] == "café 3.5 i i̇stanbul"
    for name in LOCALES:
        for variable in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"):
            with monkeypatch.context() as patch:
                _set_locale(patch, name, variable)
                assert meteor.meteor(CANDIDATES, REFERENCES) == expected, (name, variable)
        with monkeypatch.context() as patch:
            _set_locale(patch, name, "_JAVA_OPTIONS")
            assert tokenizers.tokenize(CANDIDATES, "ptb") == tokens, name


@needs_java
@pytest.mark.parametrize("options", ["-Xmx40m", "-Xmx64"])
def test_a_memory_limit_makes_meteor_unavailable(
    monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.setenv("_JAVA_OPTIONS", options)
    captions = dict(zip("abc", CANDIDATES, strict=True))
    references = dict(zip("abc", REFERENCES, strict=True))
    result = score_captions(
        captions, references, metrics=("meteor", "rouge_l"), tokenizer="ptb_python"
    )
    assert set(result.scores) == {"rouge_l"}
    says = result.unavailable["meteor"]
    assert "meteor-1.5.jar failed: " in says and "heap" in says
    assert says.endswith(
        f"Memory ran out (it uses up to 2GB): raise the limit in _JAVA_OPTIONS='{options}'"
    )


@pytest.mark.parametrize(
    ("errors", "code", "says"),
    [
        (STACK_TRACE, 1, 'x.jar failed: java.util.InputMismatchException: For input string: "3.0"'),
        (
            b"Unrecognized option: -Xfoo\nError: Could not create the Java Virtual Machine.\n",
            1,
            "x.jar failed: Unrecognized option: -Xfoo",
        ),
        (
            b"Error occurred during initialization of VM\nCould not reserve enough heap\n",
            1,
            "x.jar failed: Could not reserve enough heap. Memory ran out (it uses up to "
            "8GB): raise the limit of this container or of `ulimit -v`",
        ),
        (
            b"Picked up JAVA_TOOL_OPTIONS: -Xss1m\n",
            -9,
            "x.jar failed: it printed no reason (ended by signal 9). Memory ran out (it uses up "
            "to 8GB): raise the limit of this container or of `ulimit -v`",
        ),
        (b"", None, "x.jar failed: it printed no reason"),
    ],
)
def test_the_reason_is_the_first_line_of_the_exception(
    monkeypatch: pytest.MonkeyPatch, errors: bytes, code: int | None, says: str
) -> None:
    monkeypatch.delenv("_JAVA_OPTIONS", raising=False)
    assert str(java.failure(["-Xmx8G", "-jar", "x.jar"], errors, code)) == says


def test_a_crash_that_is_reported_on_standard_output_is_one_of_memory() -> None:
    output = b"""1.5 a dog
#
# There is insufficient memory for the Java Runtime Environment to continue.
# Native memory allocation (malloc) failed to allocate 57936 bytes. Error detail: Chunk::new
# An error report file with more information is saved as:
"""
    says = str(java.failure(["-jar", "x.jar"], b"", 1, output))
    assert says.startswith("x.jar failed: There is insufficient memory for the Java Runtime")
    assert "Memory ran out: raise the limit" in says
    assert str(java.failure(["-jar", "x.jar"], b"", 1, b"a dog")).endswith("printed no reason")


def test_run_java_times_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "java"
    program.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(java.JavaError, match=r"x\.jar did not finish in 0\.5 s"):
        java.run_java(["-jar", "x.jar"], timeout=0.5)


@needs_java
def test_java_takes_names_of_files_in_any_locale(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "Käse 猫"
    folder.mkdir()
    jar = shutil.copy(java.jar("tokenizer", "stanford-corenlp-3.4.1.jar"), folder / "x.jar")
    monkeypatch.setattr(java, "jar", lambda *_: jar)
    monkeypatch.setenv("LC_ALL", "C")
    assert tokenizers.tokenize(["A café."], "ptb") == ["a café"]


def test_half_a_surrogate_pair_ends_no_tokenizer() -> None:
    for name in [tokenizers.choose("auto"), "ptb_python"]:
        assert tokenizers.tokenize(["a \ud800 dog"], name)[0].startswith("a ")
