"""The training loop under tf.distribute, independent of captions.

Read `stage` (what it is handed), `train` (the loop), `step` and `gradients` (one step), `state` and
`nonfinite` (between steps) in this order. What they use is in the folders, which know nothing of
the loop: `optimization`, `distribution`, `persistence`, `monitoring`.
"""
