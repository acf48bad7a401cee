"""The embedded data set: a small procedural world, drawn and described from a seed.

`world` says what exists and what appears where; images and text are drawn from it independently.
"""
