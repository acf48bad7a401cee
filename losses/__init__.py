"""Loss functions: pure functions on tensors that return (sum, normalizer) pairs."""
