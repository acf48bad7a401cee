"""tf.data pipelines: records on disk to padded batches."""
