"""R2M: image captioning without image-caption pairs, in TensorFlow and Keras 3.

    import r2m

    captioner = r2m.load("workspace/runs/updown")
    for caption in captioner.caption(["dog.jpg", "cat.jpg"]):
        print(caption.text, caption.score)

TensorFlow is imported by `load`, not by `import r2m`.
"""

from r2m.api import Alternative, Caption, ImageCaptioner, load
from r2m.engine.errors import TrainingError
from tfrecords.errors import InputError

__version__ = "0.1.0"
__all__ = [
    "Alternative",
    "Caption",
    "ImageCaptioner",
    "InputError",
    "TrainingError",
    "__version__",
    "load",
]
