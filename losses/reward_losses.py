"""Names of the losses of self-critical training, for checks of settings. No TensorFlow."""

# Losses of structured prediction; `losses.sequence_losses` has their formulas.
STRUCTURED_LOSSES = (
    "seqnll",
    "risk",
    "max_margin",
    "multi_margin",
    "softmax_margin",
    "real_softmax_margin",
)
REWARD_LOSSES = ("policy", "best_of_n", *STRUCTURED_LOSSES)
