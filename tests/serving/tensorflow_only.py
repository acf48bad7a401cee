"""Runs exported models in an environment with TensorFlow but without this project.

    python -I tensorflow_only.py REQUESTS.pkl ANSWERS.pkl

Requests are a list of (folder of a version, signature, inputs by name); answers are the outputs.
"""

import importlib.util
import pathlib
import pickle
import sys

ABSENT = ("r2m", "models", "losses", "pipelines", "tfrecords", "configs")
ABSENT += ("tensorflow_text", "keras_hub", "nltk", "inflect")


def main(requests, answers):
    """Answers the requests."""
    import tensorflow as tf

    loaded, found = {}, []
    listed = pickle.loads(pathlib.Path(requests).read_bytes())
    for folder, signature, inputs in listed:
        if folder not in loaded:
            loaded[folder] = tf.saved_model.load(folder)
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        outputs = loaded[folder].signatures[signature](**tensors)
        found.append({name: value.numpy() for name, value in outputs.items()})
    pathlib.Path(answers).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    present = [name for name in ABSENT if importlib.util.find_spec(name)]
    assert not present, present
    main(*sys.argv[1:])
