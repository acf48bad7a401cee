"""Names of the caption metrics."""

METRICS = ("bleu", "rouge_l", "cider", "meteor", "spice")
