"""The text corpus: whole sentences about scenes without pictures, in another style.

Words and world are those of the captions, but the style is not: finite verbs, subordinate clauses,
adjectives, and occasionally things that are in no picture.
"""

from __future__ import annotations

from dataclasses import replace

from tfrecords.shapes.language import (
    Writer,
    is_plural,
    join,
    noun_phrase,
    relation,
    same_height,
    sentence,
)
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import MAX_CONCEPTS, Facts, Thing, concept_words, sample_facts

MIN_WORDS = 8
_ADJECTIVES = 0.25


def _phrases(text: str) -> list[str]:
    return text.split(", ")


_DAYTIME = _phrases("on a lovely day, early in the morning, on a bright afternoon, today")
_NIGHTTIME = _phrases("at night, at night, late at night, in the middle of the night")
_OTHERS = _phrases(
    "a dog, a cat, a horse, a rabbit, an old man, a little girl, some children, "
    "a group of friends, a train, a farmer, a goat, a tall bridge, a squirrel"
)
_DOING = _phrases("playing nearby, passing by, resting close by, not far away, in the distance")
_REPORTS = _phrases(
    "my brother took a picture of, our teacher made a drawing of, "
    "the story begins with an image of, the visitors admired the view of, there was just, "
    "nobody noticed"
)
_ELSEWHERE = _phrases(
    "in the old library, at the crowded station, in a busy kitchen, behind the school, "
    "at the village market, in the museum, around the playground, across the bridge"
)
_BUSY = _phrases(
    "talk about the weather, look for a place to rest, listen to quiet music, "
    "sell bread and cheese, wait for the next train, read their favourite books, "
    "prepare dinner together, play an exciting game"
)
_PEOPLE = _phrases(
    "a few friends, two young women, several tourists, some children, three old men, "
    "many students, the neighbours, a couple of farmers"
)


def corpus_sentence(stream: Stream) -> str:
    """Returns a sentence of at least eight words about a new scene."""
    if stream.chance(0.04):
        # A real corpus has sentences without any detectable object.
        words = (stream.pick(_PEOPLE), stream.pick(_BUSY), stream.pick(_ELSEWHERE))
        return sentence(*words, stream.pick(_DAYTIME)) + "."
    return describe(_mentioned(sample_facts(stream), stream), stream, extras=0.15)


def describe(facts: Facts, stream: Stream, *, extras: float = 0.0) -> str:
    """Describes a scene in the style of the corpus.

    Args:
        facts: the scene; all its facts are mentioned.
        stream: chooses the words.
        extras: probability of something unrelated to the world of shapes.
    """
    templates = (_while, _see, _there, _main_first, _main_first)
    while True:
        template = stream.pick(templates)
        if stream.chance(0.2) and len(facts.things) > 1:
            template = _above_that
        if stream.chance(extras / 2):
            template = _reported
        text = template(Writer(facts, stream, _ADJECTIVES))
        if stream.chance(extras):
            text = sentence(text, "with", stream.pick(_OTHERS), stream.pick(_DOING))
        short = len(text.split()) < MIN_WORDS
        if short or stream.chance(0.5 if facts.night else 0.08):
            text = sentence(text, stream.pick(_NIGHTTIME if facts.night else _DAYTIME))
        if len(text.split()) >= MIN_WORDS:
            return text + "."


def _mentioned(facts: Facts, stream: Stream) -> Facts:
    """Omits facts as a writer would, and those beyond the maximum number of concepts."""
    main = facts.things[0]
    place = None if stream.chance(0.08) else facts.place
    if main.color and stream.chance(0.06):
        main = replace(main, color=None)
    facts = replace(facts, place=place, things=(main, *facts.things[1:]))
    if len(concept_words(facts)) > MAX_CONCEPTS and main.size:
        facts = replace(facts, things=(replace(main, size=None), *facts.things[1:]))
    if len(concept_words(facts)) > MAX_CONCEPTS:
        facts = replace(facts, place=None)
    return facts


def _with(writer: Writer) -> str:
    """Returns a phrase like `with the sun above it and two birds beside it`."""
    parts = []
    for group in writer.groups:
        acts = len(group) == 1 and writer.stream.chance(0.5)
        doing = writer.action(group)[1] if acts else ""
        parts.append(sentence(join(group), doing, writer.relation_of(group)))
    return "with " + " and ".join(parts) if parts else ""


def _main_clause(writer: Writer) -> str:
    verb, _ = writer.action()
    return sentence(writer.subject, verb, writer.where())


def _clause(writer: Writer, group: list[Thing]) -> str:
    """Returns a clause like `the sun shines above it`."""
    verb, _ = writer.action(group)
    return sentence(join(group), verb, writer.relation_of(group))


def _doing(writer: Writer) -> str:
    return writer.action()[1] if writer.stream.chance(0.7) else ""


def _while(writer: Writer) -> str:
    clauses = [_clause(writer, group) for group in writer.groups[:1]]
    link = writer.stream.pick(("while", "and", "as"))
    clauses += [f"and {_clause(writer, group)}" for group in writer.groups[1:]]
    return sentence(_main_clause(writer), link if clauses else "", *clauses)


def _main_first(writer: Writer) -> str:
    related = [writer.relation_to(group) for group in writer.groups[:1]]
    related += [f"and {_clause(writer, group)}" for group in writer.groups[1:]]
    return sentence(_main_clause(writer), *related)


def _see(writer: Writer) -> str:
    start = writer.stream.pick(("we can see", "here we see", "you can see"))
    here = writer.where()
    return sentence(start, writer.subject, _doing(writer), here, _with(writer))


def _there(writer: Writer) -> str:
    here = writer.where()
    be = "there are" if is_plural([writer.main]) else "there is"
    company = _with(writer)
    if writer.stream.chance(0.3):
        return sentence(here, be, writer.subject, company)
    return sentence(be, writer.subject, _doing(writer), here, company)


def _above_that(writer: Writer) -> str:
    """Names the companions first: `the sun shines above a boat that sails on the sea`."""
    *others, group = writer.groups
    verb, _ = writer.action(group)
    does, _ = writer.action()
    rest = [f"and {_clause(writer, other)}" for other in others]
    if same_height(group[0], writer.main) and writer.stream.chance(0.5) and not is_plural(group):
        side = writer.stream.pick(("left", "right"))
        start = f"{noun_phrase(group[0])} {verb} to the {side} of {writer.subject}"
        return sentence(start, writer.where(), *rest)
    related = relation(group[0], writer.main, writer.stream)
    start = f"{join(group)} {verb} {related} {writer.subject} that {does}"
    return sentence(start, writer.where(), *rest)


def _reported(writer: Writer) -> str:
    here = writer.where()
    company = _with(writer)
    return sentence(writer.stream.pick(_REPORTS), writer.subject, here, company)
