"""HTML pages that open from disk: galleries, search results and comparisons of runs."""
