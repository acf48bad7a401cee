"""Images a second on one core: read and checked, and with features of a MobileNet.

python tests/benchmarks/images_speed.py FOLDER_OF_IMAGES MOBILENET_0_75_WEIGHTS
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

from tfrecords.pictures.feature_options import DEFAULT_FEATURES, BackboneOptions
from tfrecords.pictures.headers import MAX_PIXELS
from tfrecords.pictures.image_folders import find_images
from tfrecords.pictures.image_reading import read_images

IMAGES, WARM_UP = 1000, 64


def main() -> None:
    """Processes 1,000 images; repeats the images of a smaller folder."""
    folder, weights = Path(sys.argv[1]), sys.argv[2]
    found = find_images(folder)
    names = list(itertools.islice(itertools.cycle(found.names), IMAGES))
    network = BackboneOptions(name="MobileNet", weights=weights, alpha=0.75)
    report = {"images": len(found.names)}
    for what, backbone in (("checked", None), ("with_features", network)):
        for count in (WARM_UP, IMAGES):
            started = time.process_time()
            for _ in read_images(
                lambda name: (folder / name).read_bytes(),
                names[:count],
                backbone=backbone,
                features=DEFAULT_FEATURES,
                store_grid=True,
                max_pixels=MAX_PIXELS,
            ):
                pass
            seconds = time.process_time() - started
        report[f"{what}_per_second_and_core"] = round(IMAGES / seconds)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
