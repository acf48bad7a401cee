"""Readers of images with human-written captions, in the published formats.

| format | path |
|---|---|
| `karpathy` | `dataset_{coco,flickr8k,flickr30k}.json` and similar files: `{"images": [{"filename", "split", "sentences": [{"tokens", "raw"}]}]}`, also with `file_path`/`file_name`, `id`, `captions` or without a split |
| `coco` | COCO's `captions_*.json`: `images` and `annotations` |
| `flickr` | lines `image.jpg#0<TAB>caption`, a CSV `image,caption`, or `image \\| number \\| caption` |
| `xray` | R2Gen's `annotation.json` of IU X-ray and MIMIC-CXR: `{"train": [{"id", "report", "image_path": []}]}` |
| `imageclef` | lines `id<TAB>caption`, or `id<TAB>concept,concept` |
| `coco_pt` | the course's `coco.pt`, or an `.npz` with its keys: pixels and word ids |
| `cocotalk` | `cocotalk.json` with `cocotalk_label.h5` next to it, or their folder: word ids |
| `kiros` | a folder of `NAME_{train,dev,test}_caps.txt` and `.._ims.npy` (5 rows per image) |
| `vsepp` | a folder of `{train,dev,test}_caps.txt` and `.._ims.npy` |
| `tfds` | a set of TensorFlow Datasets by name (`coco_captions`), or its folder |
| `auto` | detects the format from the path and its content |

`reading.read_paired` reads all of them into the types of `types`.
"""  # noqa: E501 - a table row cannot be broken
