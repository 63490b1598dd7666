"""Reads FOLDER/*.tar with webdataset and holds images to the results beside them.

The folder is kept with --keep-json; SIZE is its --keep-size, 0 for none. ABOUT is what pictures.py said, by the name
at the end of the URL.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import webdataset as wds
from PIL import Image

folder, size, about = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
tars = [str(p) for p in sorted(folder.glob("*.tar"))]
seen = {}
for sample in wds.WebDataset(tars, shardshuffle=False, empty_check=True):
    keys = [k for k in sample if not k.startswith("__")]
    assert len(keys) == 2 and "json" in keys, keys
    body = sample[next(k for k in keys if k != "json")]
    result = json.loads(sample["json"])
    name = result["url"].rsplit("/", 1)[1].split("?")[0]
    want = about[name]
    stored = result["stored"]
    assert stored["file"].rsplit(".", 1)[0] == sample["__key__"], (stored, sample["__key__"])
    assert stored["file"].rsplit(".", 1)[1] in keys, (stored, keys)
    assert (result["width"], result["height"]) == (want["width"], want["height"]), (name, result)
    assert result["boxes"] == [want["face"] + [0.9]], (name, result)

    m = Image.open(io.BytesIO(body))  # as it is in the file: no EXIF orientation is applied
    assert m.size == (stored["width"], stored["height"]), (name, m.size, stored)
    assert m.format.lower() == stored["format"], (name, m.format)
    if size:
        assert m.format == "JPEG" and m.mode in ("RGB", "L"), (name, m.format, m.mode)
        assert max(m.size) == min(size, max(want["width"], want["height"])), (name, m.size)
        assert m.getexif().get(0x112, 1) == 1, name
    a = np.asarray(m.convert("RGB")).astype(int)
    x, y, w, h, _ = stored["boxes"][0]
    inside = a[y + h // 4 : y + h - h // 4, x + w // 4 : x + w - w // 4].reshape(-1, 3).mean(0)
    beside = a[y + h // 4 : y + h - h // 4, max(0, x - w // 2) : x - w // 4].reshape(-1, 3).mean(0)
    red = abs(inside - (250, 10, 10)).max() < 40
    if name.startswith("grey"):
        assert abs(inside - 82).max() < 12 and abs(beside - inside).max() < 20, (name, inside, beside)
    else:
        assert red and abs(beside - inside).max() > 60, (name, inside, beside)
    if name == "alpha.png" and size:  # what is transparent is white
        assert a[5:20, 5:20].min() > 240, (name, a[5:20, 5:20].mean())
    assert sample["__key__"] not in seen, sample["__key__"]
    seen[sample["__key__"]] = name

assert set(seen.values()) == set(about), set(about) - set(seen.values())
assert len(seen) == len(about) + 1, len(seen)  # one URL is in two rows

# The usual way to read such files: decoded, as tuples.
pairs = wds.WebDataset(tars, shardshuffle=False).decode("pil").to_tuple("jpg;png;gif;webp;bmp;tif;tiff", "json")
try:
    n = sum(1 for image, result in pairs if result["faces"] == 1)
except Exception as err:  # some formats are not webdataset's
    assert size == 0, err
else:
    assert n == len(seen), n
print(f"{len(seen)} samples of {len(tars)} files, size {size}: as webdataset {wds.__version__} reads them")
