"""Python reimplementation of the tokenizer used by pycocoevalcap.

pycocoevalcap tokenizes with Stanford's PTBTokenizer (`-preserveLines -lowerCase`) and then drops
the tokens of a short punctuation list. The rules here were derived only from that program's output.
They differ from it on 2 of the 105,846 captions they were derived from
(`tests/evaluation/test_ptb_agreement.py`), for which Stanford's result depends on the next line,
and on 2 of 2,833 other texts, from radiology reports. Rare spellings beyond such text (codes like
`x.5a`, scripts other than Latin) may differ.

Oddities are kept because they affect published scores: the list contains `-LRB-` but tokens are
lower-case, so brackets remain as `-lrb-`; `!!` remains although `!` is dropped; `#` and `&` remain.
"""

from __future__ import annotations

import re

_LIST = "'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;"
PUNCTUATION = frozenset(_LIST.split())
"""Tokens that pycocoevalcap drops (its `tokenizer/ptbtokenizer.py`)."""

# Java and Python disagree on line breaks; any of these inside a caption would shift all later
# captions by one.
_LINE_BREAKS = re.compile("[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")

_ALIKE = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201b": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00ab": '"',
        "\u00bb": '"',
        "\u2013": " -- ",
        "\u2014": " -- ",
        "\u2015": " -- ",
        "\u2026": " ... ",
        "\u00a0": " ",
        "\u00ad": "",
        "\u2010": "",
        "\u2011": "",
        "\u00a3": " # ",
        "\u20ac": " $ ",
        "\u00a2": " cents ",
        "\u00bd": " 1/2 ",
        "\u00bc": " 1/4 ",
        "\u00be": " 3/4 ",
    }
)
# Private use, emoji and everything beyond the basic plane: "untokenizable", left out.
_UNPRINTED = re.compile("[\ue000-\uf8ff\ufeff\U00010000-\U0010ffff]")
_RENAMED = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'"}

# One token with their full stop, at any position.
_ABBREVIATIONS = """
    adj adm adv al ala apr ariz assn asst aug ave bldg blvd brig bros calif capt cf cie cmdr co col
    colo comdr conn corp cos cpl ct dak dec dept det dr elec esq est etc ext feb fla fri ft ga gen
    gov hon inc ind insp jan jr jul jun kan kans ky lieut lt ltd maj mar md messrs mfg mich minn
    mlle mme mo mon mont mr mrs ms msgr mt natl neb nev nov oct okla penn ph plc pres prof pte pvt
    rd rep reps rev rt sen sens sep sept sgt sq sr st ste supt tel tenn thu thurs treas tue tues
    univ va vs vt wed wis wisc wyo
"""
# The same, but only before a number: no. 5.
_BEFORE_NUMBERS = "art ca fig figs no nos op pp prop"
# A letter and its stop are one token ("J. Smith") unless one of these starts a new sentence.
_SENTENCE_STARTERS = """
    The A An He She It They We You This That These There In At But If When While As So Her Their
    Our Some Many One Other What Then Now Here However After Since About Such
"""

_LETTER = r"[^\W\d_]"
_ALNUM = r"[^\W_]"
_SUFFIX = r"(?:s|m|d|re|ve|ll)"
_SPLIT_WORDS = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "wanna": ("wan", "na"),
    "gimme": ("gim", "me"),
    "lemme": ("lem", "me"),
    "'tis": ("'t", "is"),
    "'twas": ("'t", "was"),
}


def _grammar() -> re.Pattern[str]:
    abbreviations = "|".join(_ABBREVIATIONS.split())
    before_numbers = "|".join(_BEFORE_NUMBERS.split())
    starters = "|".join(w for s in _SENTENCE_STARTERS.split() for w in (s, s.upper()))
    chunk = rf"(?:{_ALNUM}+(?:_{_ALNUM}+)*)"
    hyphened = rf"{chunk}(?:-{chunk})*"
    rules = [
        r"(?:https?|ftp)://[^\s\"<>|()]+[^\s\"<>|().!?,:;'-]",
        r"www\.[^\s\"<>|().]+\.[^\s\"<>|()]*[^\s\"<>|().!?,:;'-]",
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*",
        r"@\w+",
        r"</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>",
        # Emoticons: their brackets are spelled out like any other.
        r"[:;=8]['o]?-?[()DPp\[\]](?!\w)",
        r"(?-i:[A-Z]+(?:&[A-Z]+)+)",
        # t.v. d.c. u.s.a; then d.v.d without the last stop.
        rf"{_LETTER}(?:\.{_LETTER})+(?!{_ALNUM})\.?",
        rf"\b(?:{abbreviations})\.(?!{_LETTER})",
        rf"\b(?:{before_numbers})\.(?=\s?\d)",
        rf"(?<![\w.']){_LETTER}\.(?!{_ALNUM})(?!\s+(?-i:{starters})\b)",
        # Numbers that a unit may touch: 3:30pm is two tokens, 8mm is one (a word, below).
        rf"(?<!{_ALNUM})[-+]?\d+(?:[.,:]\d+)+",
        # A stop, comma or colon that touches digits belongs to them: word.2, x,174.9, :3.
        rf"[.,:]\d+(?:[.,:]\d+)*(?!{_ALNUM})",
        rf"(?<!{_ALNUM})[-+]\d+(?:[.,:]\d+)*(?!{_ALNUM})",
        # n't and other clitics are split from the ends of words.
        rf"{_LETTER}+(?=n't\b)",
        r"n't\b",
        rf"(?<!\w)'(?:em|til|cause|tis|twas|n'|n)(?!{_ALNUM})",
        rf"(?<=\w)'n'?(?!{_ALNUM})",
        r"(?<!\w)'\d\d(?:s\b)?(?!['\w])",
        rf"'{_SUFFIX}(?!{_ALNUM})",
        r"(?:o'clock|ma'am|ol'(?=\s)|c'mon|cap'n|somethin'|dunkin'|ne'er|e'er)",
        rf"(?:o|d|l|j)'(?!{_SUFFIX}\b){_LETTER}{{2,}}",
        rf"y'(?={_LETTER})(?!{_SUFFIX}\b)",
        rf"{_LETTER}+[aeiou]'[aeiou]{_LETTER}*",
        # Words joined by stops, or up to three by strokes: stove.and, black/white, 3/4-inch.
        rf"{_LETTER}+(?:\.{_LETTER}+)+",
        rf"{hyphened}(?:/{hyphened}){{1,2}}",
        r"(?:c\+\+|[cf]#)(?!\w)",
        hyphened,
        r"\?[?!]+|![?!]+",
        r"_+|\*+",
        r"\.{3}|-{2,}|``|''",
    ]
    return re.compile("|".join(f"(?:{rule})" for rule in rules) + r"|\S", re.IGNORECASE)


_GRAMMAR = _grammar()
# Captions to which only the rule of plain words applies; three times as fast.
_PLAIN = re.compile(r"[A-Za-z, ]*(?: \.)? *")
_ENTITY = re.compile("|".join(_ENTITIES), re.IGNORECASE)


def one_line(caption: str) -> str:
    """Replaces every kind of line break in a caption by a space."""
    return _LINE_BREAKS.sub(" ", caption)


def tokenize(caption: str) -> str:
    """Tokenizes one caption: lower case, punctuation removed, tokens joined by single spaces."""
    if _PLAIN.fullmatch(caption):
        words = caption.lower().rstrip(" .").replace(",", " ").split()
        if _SPLIT_WORDS.keys().isdisjoint(words):
            return " ".join(words)
    return _tokenize(caption)


def _tokenize(caption: str) -> str:
    text = _ENTITY.sub(lambda m: _ENTITIES[m.group().lower()], one_line(caption)).translate(_ALIKE)
    tokens: list[str] = []
    for found in _GRAMMAR.findall(text):
        word = found.lower()
        if word in PUNCTUATION or word == '"' or _UNPRINTED.match(word):
            continue
        if word in _SPLIT_WORDS:
            tokens.extend(_SPLIT_WORDS[word])
        elif len(word) <= 4 and not word.isalnum():
            tokens.append("".join(_RENAMED.get(c, c) for c in word))
        else:
            tokens.append(word)
    return " ".join(tokens)
