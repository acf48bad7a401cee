"""The training loop under tf.distribute; knows nothing about captions."""
