"""Crawls descriptions of stock photographs: a search for each class of a detector.

The site's search pages name their pictures in JSON-LD blocks. The crawler is polite (robots.txt,
one limit of requests a second for all threads, `Retry-After`), survives what sites do (429, 500,
garbage, silence, endless bodies) and goes on where it was stopped. Its output is what reader
`shutterstock` of `r2m-build-corpora` reads.
"""

from tfrecords.crawler.crawl import ClassReport, CrawlOptions, CrawlReport, crawl_descriptions

__all__ = ["ClassReport", "CrawlOptions", "CrawlReport", "crawl_descriptions"]
