"""Parser of robots.txt (RFC 9309), the rules of a site for robots.

`urllib.robotparser` takes the first matching rule instead of the longest one. It has no wildcards
and no fractions of a second.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Robots:
    """The rules for one robot.

    Attributes:
        rules: (allowed, pattern of paths); the longest matching pattern decides.
        delay: seconds to leave between requests.
    """

    rules: tuple[tuple[bool, str], ...] = ()
    delay: float = 0.0

    def allows(self, url: str) -> bool:
        """Returns whether a page may be fetched."""
        parts = urlsplit(url)
        path = unquote(parts.path or "/") + (f"?{unquote(parts.query)}" if parts.query else "")
        found = [(len(p), allowed) for allowed, p in self.rules if _matches(unquote(p), path)]
        return max(found, default=(0, True))[1]


def parse_robots(text: str, user_agent: str) -> Robots:
    """Returns the rules of a robots.txt for a user agent, or else the rules for `*`.

    Malformed lines are ignored. `user_agent` may have a version and comments after its name:
    `name/1.0 (...)`.
    """
    name = re.split(r"[\s/]", user_agent, maxsplit=1)[0].lower()
    groups: dict[str, list[tuple[str, str]]] = {}
    agents: list[str] = []
    naming = False
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            agents = [*(agents if naming else []), value.lower()]
            for agent in agents:
                groups.setdefault(agent, [])
        elif key in ("allow", "disallow", "crawl-delay"):
            for agent in agents:
                groups[agent].append((key, value))
        naming = key == "user-agent"
    lines = groups.get(name, groups.get("*", []))
    rules = tuple((key == "allow", v) for key, v in lines if key != "crawl-delay" and v)
    return Robots(
        rules, max((_seconds(v) for key, v in lines if key == "crawl-delay"), default=0.0)
    )


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _matches(pattern: str, path: str) -> bool:
    """Returns whether a path matches a pattern; `*` matches anything, `$` the end of the path."""
    to_the_end = pattern.endswith("$")
    first, *pieces = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for number, piece in enumerate(pieces, 1):
        last = number == len(pieces) and to_the_end
        found = path.rfind(piece) if last else path.find(piece, at)
        if found < at:
            return False
        at = found + len(piece)
    return at == len(path) or not to_the_end
