"""Object detectors with a common interface: images in, checked boxes with class names out.

| kind | description |
|---|---|
| `frozen_graph` | a TF1 frozen graph of the object detection API (`frozen_inference_graph.pb`) |
| `saved_model` | a TF2 (or TF1) detection SavedModel with the same names in its signature |
| `keras_hub` | a KerasHub object detector: the name of a preset, or a preset's folder |
| `classifier` | an ImageNet classifier of `keras.applications` or EfficientNet-Lite, by its name |
| `zero_shot` | CLIP or SigLIP of KerasHub, which scores any words: a preset's name or folder |

Each kind has its own module, imported when a detector of this kind is opened.
"""
