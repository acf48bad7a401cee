"""Images with the captions people wrote for them, out of the published formats.

| format | path |
|---|---|
| `karpathy` | `dataset_{coco,flickr8k,flickr30k}.json` and what is written like them: `{"images": [{"filename", "split", "sentences": [{"tokens", "raw"}]}]}`, also with `file_path`/`file_name`, `id`, `captions` or without a split |
| `coco` | COCO's `captions_*.json`: `images` and `annotations` |
| `flickr` | `image.jpg#0<TAB>caption` a line, a CSV `image,caption`, or `image \\| number \\| caption` |
| `xray` | R2Gen's `annotation.json` of IU X-ray and MIMIC-CXR: `{"train": [{"id", "report", "image_path": []}]}` |
| `imageclef` | `id<TAB>caption` a line, or `id<TAB>concept,concept` |
| `coco_pt` | the course's `coco.pt`, or an `.npz` with its keys: pixels and word ids |
| `cocotalk` | `cocotalk.json` with `cocotalk_label.h5` beside it, or their folder: word ids |
| `kiros` | a folder of `NAME_{train,dev,test}_caps.txt` and `.._ims.npy` (5 rows an image) |
| `vsepp` | a folder of `{train,dev,test}_caps.txt` and `.._ims.npy` |
| `tfds` | a set of TensorFlow Datasets by name (`coco_captions`), or its folder |
| `auto` | finds out which by looking at the path |

`formats.read_paired` reads all of them into the types of `types`.
"""  # noqa: E501 - a table row cannot be broken
