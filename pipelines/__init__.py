"""tf.data pipelines from records on disk to padded batches."""
