"""Loss functions: pure functions on tensors that return (sum, normaliser) pairs."""
