"""R2M: image captioning without image-caption pairs, in TensorFlow and Keras 3.

    import r2m

    captioner = r2m.load("workspace/runs/updown")
    for caption in captioner.caption(["dog.jpg", "cat.jpg"]):
        print(caption.text, caption.score)

Public names are imported when they are first used, and TensorFlow by `load`.
"""

from typing import TYPE_CHECKING

from r2m.public_names import __dir__ as __dir__
from r2m.public_names import __getattr__ as __getattr__

if TYPE_CHECKING:
    from r2m.api import Alternative, Caption, ImageCaptioner, load
    from r2m.engine.errors import TrainingError
    from r2m.retrieval_api import (
        encode_images,
        encode_sentences,
        evalrank,
        regularities,
        retrieve_captions,
        retrieve_images,
    )
    from tfrecords.core.errors import InputError

__version__ = "0.1.0"
__all__ = [
    "Alternative",
    "Caption",
    "ImageCaptioner",
    "InputError",
    "TrainingError",
    "__version__",
    "encode_images",
    "encode_sentences",
    "evalrank",
    "load",
    "regularities",
    "retrieve_captions",
    "retrieve_images",
]
