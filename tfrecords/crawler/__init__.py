"""Crawler of descriptions of stock photographs, with one search per class of a detector.

The site's search pages list their pictures in JSON-LD blocks. The crawler is polite (robots.txt,
one rate limit for all threads, `Retry-After`) and tolerates server failures (429, 500, invalid
data, no response, endless bodies). It resumes where it was stopped. The reader `shutterstock` of
`r2m-build-corpora` reads its output.
"""
