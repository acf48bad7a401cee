"""Recipes by name."""

from __future__ import annotations

from r2m.recipes import (
    flickr8k_captioners,
    flickr8k_efficientnet,
    flickr8k_r2m,
    flickr8k_retrieval,
    iu_xray,
)

RECIPES = {
    "flickr8k-captioners": flickr8k_captioners.RECIPE,
    "flickr8k-efficientnet": flickr8k_efficientnet.RECIPE,
    "flickr8k-r2m": flickr8k_r2m.RECIPE,
    "flickr8k-retrieval": flickr8k_retrieval.RECIPE,
    "iu-xray": iu_xray.RECIPE,
}
