"""The embedded data set: a procedural world, drawn and described from a seed.

`world` defines all things and places; images and text are sampled from it independently.
"""
