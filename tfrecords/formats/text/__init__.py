"""Readers of sentences in the published text formats, in parts that can be read in parallel.

| reader | file |
|---|---|
| `text` | one sentence per line |
| `flickr8k` | lines `image.jpg#0<TAB>caption` (Flickr8k.token.txt, results_20130124.token) |
| `gcc` | lines `caption<TAB>url` (Conceptual Captions) |
| `cc12m` | lines `url<TAB>caption` (Conceptual 12M) |
| `coco` | COCO captions JSON `{"annotations": [{"caption"}]}`, or Karpathy's `{"images": [{"captions"}]}` and `{"images": [{"sentences": [{"raw"}]}]}` |
| `shutterstock` | `{page: [{"description"}]}` |
| `table` | a CSV or TSV table with a column of captions, `image,caption` lines, results.csv of Flickr30k |
| `json_list` | a JSON list or JSON Lines: texts, or objects with captions (`{"file_path", "captions"}`, `{"text"}`) |
| `iu_xray` | `{split: [{"report"}]}` (annotation.json), or a CSV table with the column `findings` |
| `tfds` | no file, but `NAME[:FEATURE][@SPLIT]` of a prepared TensorFlow Datasets data set |
| `auto` | detects the reader from the first line |

A file may be compressed (`.gz`). A folder means all text files in it.
"""  # noqa: E501 - a table row cannot be broken
