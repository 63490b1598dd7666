"""Opens one export in every format with programs that are not ours, and compares them.

usage: interop.py FOLDER, with images.{csv,jsonl,parquet,json} and faces.{csv,jsonl,parquet} in it
Needs pyarrow, pandas, duckdb and pycocotools.
"""

import json
import math
import sys

import duckdb
import pandas
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from pycocotools.coco import COCO

folder = sys.argv[1] + "/"


def plain(value, column):
    """A cell as JSON has it, whatever the reader makes of it."""
    if column == "boxes" and isinstance(value, str):
        value = json.loads(value)
    if value is None or isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return [plain(value[k], k) for k in ("x", "y", "width", "height", "score")]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v, "") for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def rows(records):
    return [{k: plain(v, k) for k, v in r.items()} for r in records]


def pandas_rows(frame):
    return rows(frame.astype(object).to_dict("records"))


for rowkind in ("images", "faces"):
    base = folder + rowkind
    with open(base + ".jsonl", encoding="utf-8") as f:
        want = rows(json.loads(line) for line in f)
    texts = [k for k, v in want[0].items() if isinstance(v, str)]
    readers = {
        "pyarrow parquet": lambda: rows(pyarrow.parquet.read_table(base + ".parquet").to_pylist()),
        "pandas parquet": lambda: pandas_rows(pandas.read_parquet(base + ".parquet")),
        "duckdb parquet": lambda: rows(duckdb.sql(f"SELECT * FROM '{base}.parquet'").to_arrow_table().to_pylist()),
        "pandas csv": lambda: pandas_rows(pandas.read_csv(base + ".csv", keep_default_na=False, na_values={c: [""] for c in want[0] if c not in ("url",)})),
        "pyarrow csv": lambda: rows(pyarrow.csv.read_csv(
            base + ".csv",
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=True, null_values=[""])).to_pylist()),
        "duckdb csv": lambda: rows(duckdb.sql(f"SELECT * FROM read_csv('{base}.csv', header=true, quote='\"', escape='\"', sample_size=-1)").to_arrow_table().to_pylist()),
        "duckdb jsonl": lambda: rows(duckdb.sql(f"SELECT * FROM read_json('{base}.jsonl', format='newline_delimited', sample_size=-1)").to_arrow_table().to_pylist()),
        "pandas jsonl": lambda: pandas_rows(pandas.read_json(base + ".jsonl", lines=True, dtype=False)),
    }
    for name, read in readers.items():
        got = read()
        assert len(got) == len(want), f"{rowkind}, {name}: {len(got)} rows, want {len(want)}"
        for g, w in zip(got, want):
            assert list(g) == list(w), f"{rowkind}, {name}: columns {list(g)}, want {list(w)}"
            assert g == w, f"{rowkind}, {name}:\n{g}\n{w}"
        print(f"{rowkind}: {name} equals jsonl, {len(got)} rows")
    if rowkind == "images":
        images = want

coco = COCO(folder + "images.json")
judged = [r for r in images if r["status"] == "ok"]
assert sorted(coco.getImgIds()) == [r["id"] for r in judged]
for r in judged:
    image = coco.loadImgs([r["id"]])[0]
    assert (image["file_name"], image["width"], image["height"]) == (r["url"], r["width"], r["height"]), image
    faces = coco.loadAnns(coco.getAnnIds(imgIds=[r["id"]]))
    assert [plain(f["bbox"], "") + [plain(f["score"], "")] for f in faces] == r["boxes"], (faces, r)
print(f"coco: {len(judged)} images equal jsonl")
