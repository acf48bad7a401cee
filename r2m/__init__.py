"""R2M: image captioning without image-caption pairs, in TensorFlow and Keras 3."""
