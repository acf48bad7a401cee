"""Upper limits of settings and flags."""

from __future__ import annotations

# At higher temperatures, words are drawn almost uniformly.
MOST_TEMPERATURE = 1_000
# More hypotheses, words, pixels per side, or units do not fit into any memory; the largest number
# of words to the power of the largest alpha fits into float32.
MOST_BEAMS, MOST_WORDS, MOST_PIXELS, MOST_UNITS, MOST_ALPHA = 1_000, 1_000, 8_192, 65_536, 10
