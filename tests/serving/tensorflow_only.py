"""Runs exported models in a process that can import TensorFlow and nothing of this project.

    python -I tensorflow_only.py REQUESTS.pkl ANSWERS.pkl

Requests are a list of (folder of a version, signature, inputs by name); answers are the outputs.
"""

import importlib.abc
import pathlib
import pickle
import sys

FORBIDDEN = ("r2m", "models", "losses", "pipelines", "tfrecords", "configs")
FORBIDDEN += ("tensorflow_text", "keras_hub", "nltk", "inflect", "PIL")


class Refuse(importlib.abc.MetaPathFinder):
    """Refuses to find modules that a server does not have."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} is not there")
        return None


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
    sys.meta_path.insert(0, Refuse())
    main(*sys.argv[1:])
