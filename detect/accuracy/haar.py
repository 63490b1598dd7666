"""Answers a path a line on stdin with what one of OpenCV's Haar cascades finds there, at OpenCV's own defaults but for the smallest face:
{"ms": CPU time of decoding and searching, "boxes": [[x, y, width, height, score], ...]}, in pixels of the stored image. The score is how
many windows were joined. Debian: python3-opencv, opencv-data."""
import json
import sys
import time

import cv2

cv2.setNumThreads(1)
cascade = cv2.CascadeClassifier(sys.argv[1])
if cascade.empty():
    sys.exit(f"{sys.argv[1]} is no cascade: install opencv-data")
least = int(sys.argv[2])
for path in sys.stdin:
    path = path.rstrip("\n")
    begin = time.process_time()
    image = cv2.imread(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        sys.exit(f"OpenCV cannot read {path}: leave it out for a comparison")
    boxes, joined = cascade.detectMultiScale2(image, scaleFactor=1.1, minNeighbors=3, minSize=(least, least))
    ms = 1000 * (time.process_time() - begin)
    print(json.dumps({"ms": ms, "boxes": [[*map(int, b), int(n)] for b, n in zip(boxes, joined)]}), flush=True)
