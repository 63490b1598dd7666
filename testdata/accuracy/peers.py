"""Detectors of others, as they come, on one core:

    peers.py haar CASCADE.xml LEAST     one of OpenCV's Haar cascades at its own defaults, faces from LEAST pixels
    peers.py opencv MODEL.onnx SIDE     YuNet by OpenCV's FaceDetectorYN, the picture's longer side scaled to SIDE pixels
    peers.py onnxruntime MODEL.onnx SIDE
    peers.py urls MODEL.onnx SIDE LIST  downloads a list with urllib3 and asks FaceDetectorYN: a whole run

All but the last read one path per line on stdin and answer {"ms": CPU time of decoding and detection, "boxes": [[x, y,
width, height, score], ...]}, in pixels of the stored image. Packages: opencv-python-headless, onnxruntime, urllib3.
"""
import json
import sys
import time

import cv2
import numpy as np

cv2.setNumThreads(1)
THRESHOLD, OVERLAP = 0.6, 0.3


def haar(path, least):
    cascade = cv2.CascadeClassifier(path)
    if cascade.empty():
        sys.exit(f"{path} is not a cascade: install opencv-data")
    least = int(least)

    def find(image):
        boxes, joined = cascade.detectMultiScale2(image, scaleFactor=1.1, minNeighbors=3, minSize=(least, least))
        return [[*map(int, b), int(n)] for b, n in zip(boxes, joined)]

    return cv2.IMREAD_GRAYSCALE, find


def scaled(find, side):
    """find for pictures whose longer side is scaled to `side` pixels."""
    def whole(image):
        scale = int(side) / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        return [[v / scale for v in box[:4]] + [box[4]] for box in find(small)]
    return cv2.IMREAD_COLOR, whole


def opencv(model, side):
    detector = cv2.FaceDetectorYN.create(model, "", (320, 320), THRESHOLD, OVERLAP, 5000)

    def find(image):
        detector.setInputSize(image.shape[1::-1])
        _, faces = detector.detect(image)
        return [] if faces is None else [[float(v) for v in (*f[:4], f[14])] for f in faces]

    return scaled(find, side)


def onnxruntime(model, side):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]

    def find(image):
        height, width = image.shape[:2]
        padded = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        padded[0, :, :height, :width] = image.transpose(2, 0, 1)
        out = dict(zip(names, session.run(None, {"input": padded})))
        boxes, scores = [], []
        for stride in (8, 16, 32):
            score = np.sqrt(out[f"cls_{stride}"].ravel() * out[f"obj_{stride}"].ravel())
            cells = np.nonzero(score >= THRESHOLD)[0]
            box, across = out[f"bbox_{stride}"].reshape(-1, 4)[cells], padded.shape[3] // stride
            size = np.exp(box[:, 2:]) * stride
            centre = (np.stack([cells % across, cells // across], 1) + box[:, :2]) * stride
            boxes += np.concatenate([centre - size / 2, size], 1).tolist()
            scores += score[cells].tolist()
        kept = cv2.dnn.NMSBoxes(boxes, scores, THRESHOLD, OVERLAP) if boxes else []
        return [boxes[i] + [scores[i]] for i in kept]

    return scaled(find, side)


def urls(model, side, path):
    from concurrent.futures import ThreadPoolExecutor
    import urllib3
    pool = urllib3.PoolManager(maxsize=32)
    _, find = opencv(model, side)
    found = 0
    with ThreadPoolExecutor(32) as downloads, open(path) as lines:
        for body in downloads.map(lambda line: pool.request("GET", line.strip()).data, lines):
            image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
            found += len(find(image)) if image is not None else 0
    print(found, "faces")


if __name__ == "__main__":
    kind, arguments = sys.argv[1], sys.argv[2:]
    if kind == "urls":
        urls(*arguments)
        sys.exit()
    flags, find = {"haar": haar, "opencv": opencv, "onnxruntime": onnxruntime}[kind](*arguments)
    for line in sys.stdin:
        line = line.rstrip("\n")
        begin = time.process_time()
        picture = cv2.imread(line, flags | cv2.IMREAD_IGNORE_ORIENTATION)
        if picture is None:
            sys.exit(f"OpenCV cannot read {line}: leave it out for a comparison")
        answer = find(picture)
        print(json.dumps({"ms": 1000 * (time.process_time() - begin), "boxes": answer}), flush=True)
