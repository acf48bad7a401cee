"""Stores of precomputed image features: one interface for all file formats."""

from tfrecords.feature_stores.opening import STORE_KINDS, open_feature_store
from tfrecords.feature_stores.types import FeatureStore, StoredFeatures

__all__ = ["STORE_KINDS", "FeatureStore", "StoredFeatures", "open_feature_store"]
