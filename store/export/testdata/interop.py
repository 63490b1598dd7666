"""Opens exports in every format with programs that are not ours, and compares what they read.

usage: interop.py FOLDER, with {images,faces,kept,groups}.{csv,jsonl}{,.gz,.zst}, .parquet, and images.json in it
What it needs is in requirements.txt.
"""

import datetime
import gzip
import json
import math
import sys

import duckdb
import pandas
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import zstandard
from pycocotools.coco import COCO

folder = sys.argv[1] + "/"

# What columns hold; a CSV file does not say, and guessing makes numbers of texts that look like some.
TEXT = {"url", "status", "reason", "format", "source", "group", "class", "final_url", "detector", "album", 'a "note"', "sha256", "phash", "first", "last", "boxes"}
REAL = {"score", "confidence"}


def plain(value, column=""):
    """A cell as JSON has it, whatever the reader makes of it."""
    if column == "boxes" and isinstance(value, str) and value:
        value = json.loads(value)
    if value is None or value is pandas.NA or isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return [plain(value[k]) for k in ("x", "y", "width", "height", "score")]
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def rows(records):
    return [{k: plain(v, k) for k, v in r.items()} for r in records]


def table(t):
    return rows(t.to_pylist())


def frame(f):
    return rows(f.astype(object).to_dict("records"))


def duck(sql):
    return table(duckdb.sql(sql).to_arrow_table())


def lines(path):
    opened = {"gz": gzip.open, "st": zstandard.open}.get(path[-2:], open)
    with opened(path, "rt", encoding="utf-8") as f:
        return rows(json.loads(line) for line in f)


def readers(base, columns):
    """Every way to read an export: what it is called, how, and whether empty text is told from none."""
    text = [c for c in columns if c in TEXT]
    types = {c: pyarrow.string() if c in TEXT else pyarrow.float64() if c in REAL else pyarrow.int64() for c in columns}
    names = {pyarrow.string(): "VARCHAR", pyarrow.float64(): "DOUBLE", pyarrow.int64(): "BIGINT"}
    struct = "{" + ", ".join(f"'{c}': '{names[t]}'" for c, t in types.items()) + "}"
    yield "pyarrow parquet", lambda: table(pyarrow.parquet.read_table(base + ".parquet")), True
    yield "pandas parquet", lambda: frame(pandas.read_parquet(base + ".parquet")), True
    yield "duckdb parquet", lambda: duck(f"SELECT * FROM '{base}.parquet'"), True
    for packed in ("", ".gz", ".zst"):
        csv, jsonl = base + ".csv" + packed, base + ".jsonl" + packed
        yield "pandas csv" + packed, lambda: frame(pandas.read_csv(csv, dtype={c: str for c in text}, keep_default_na=False, na_values=[""])), False
        yield "pyarrow csv" + packed, lambda: table(pyarrow.csv.read_csv(
            pyarrow.input_stream(csv, compression={"": None, ".gz": "gzip", ".zst": "zstd"}[packed]),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]))), False
        yield "duckdb csv" + packed, lambda: duck(f"SELECT * FROM read_csv('{csv}', header=true, quote='\"', escape='\"', types={struct})"), False
        yield "json of Python" + packed, lambda: lines(jsonl), True
        yield "pandas jsonl" + packed, lambda: frame(pandas.read_json(jsonl, lines=True, dtype=False)), True
        yield "duckdb jsonl" + packed, lambda: duck(f"SELECT * FROM read_json('{jsonl}', format='newline_delimited', sample_size=-1)"), True


for kind in ("images", "faces", "kept", "groups"):
    want = lines(folder + kind + ".jsonl")
    assert len(want) > 100, kind
    bare = [{k: None if v == "" else v for k, v in r.items()} for r in want]
    for name, read, exact in readers(folder + kind, list(want[0])):
        got = read()
        assert len(got) == len(want), f"{kind}, {name}: {len(got)} rows, want {len(want)}"
        for g, w in zip(got, want if exact else bare):
            assert list(g) == list(w), f"{kind}, {name}: columns {list(g)}, want {list(w)}"
            if not exact:
                g = {k: None if v == "" else v for k, v in g.items()}
            assert g == w, f"{kind}, {name}:\n{g}\n{w}"
        print(f"{kind}: {name} equals, {len(got)} rows")
    if kind == "images":
        images = want

coco = COCO(folder + "images.json")
judged = [r for r in images if r["status"] == "ok"]
assert sorted(coco.getImgIds()) == [r["id"] for r in judged]
for r in judged:
    image = coco.loadImgs([r["id"]])[0]
    assert (image["file_name"], image["width"], image["height"]) == (r["url"], r["width"], r["height"]), image
    faces = coco.loadAnns(coco.getAnnIds(imgIds=[r["id"]]))
    assert [plain(f["bbox"]) + [plain(f["score"])] for f in faces] == r["boxes"], (faces, r)
# A detector's answers are also what pycocotools takes as results.
found = coco.loadRes([{k: a[k] for k in ("image_id", "category_id", "bbox", "score")} for a in coco.loadAnns(coco.getAnnIds())])
assert len(found.getAnnIds()) == sum(len(r["boxes"]) for r in judged)
print(f"coco: pycocotools equals, {len(judged)} images, {len(found.getAnnIds())} faces")
