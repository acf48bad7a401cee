"""The training loop under tf.distribute, independent of captions.

Read these modules in this order: `stage` (interface of a stage), `train` (the loop), `step` and
`gradients` (one step), `state` and `nonfinite` (between steps). The packages that they use do not
depend on the loop: `optimization`, `distribution`, `persistence`, `monitoring`.
"""
