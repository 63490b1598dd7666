"""A neural face detector as sidecar: an ONNX model, served by MLServer, asked by `facescan run --sidecar`.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    FACE_MODEL=/path/to/yunet.onnx venv/bin/mlserver start .
    facescan run urls.txt --sidecar http://127.0.0.1:8080/v2/models/face --sidecar-input encoded

FACE_MODEL is YuNet as OpenCV publishes it (with dynamic or fixed input size), or a model of the UltraFace kind, with two outputs:
scores [1, N, 2] and corners [1, N, 4] as parts of width and height. Another model needs a class with a `find` of its own; name it
as "implementation" in model-settings.json.

What facescan wants of a sidecar is all in `predict`: images come as files, luma ones as PGM; faces go as rows of
(image, x, y, width, height, score) in pixels of the image as stored, EXIF orientation not applied; counts has the number of
faces of each image, -1 for one that cannot be read. The answer to an image must not depend on what it is sent with.
"""
import hashlib
import os

import cv2
import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, Parameters, ResponseOutput


class Faces(MLModel):
    """Everything but the model: the protocol of facescan's sidecars."""

    min_score = 0.7  # the default of facescan's --min-score with this detector
    detector = "none"  # name and version of the model: results of different ones are not mixed

    def find(self, image: np.ndarray) -> np.ndarray:
        """Finds faces in an image [height, width, BGR], as float rows (x, y, width, height, score)."""
        raise NotImplementedError

    async def metadata(self) -> MetadataModelResponse:
        meta = await super().metadata()
        meta.parameters = Parameters(detector=self.detector, min_score=self.min_score)  # flags that predict understands
        return meta

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        asked = payload.parameters.model_dump() if payload.parameters else {}
        min_score = asked.get("min_score", self.min_score)
        faces, counts = [np.empty((0, 6))], []
        for i, file in enumerate(Base64Codec.decode_input(payload.inputs[0])):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imdecode(np.frombuffer(file, np.uint8), flags) if file else None
            if image is None:
                counts.append(-1)
                continue
            found = self.find(image).reshape(-1, 5)
            height, width = image.shape[:2]
            inside = (found[:, 0] < width) & (found[:, 1] < height) & (found[:, :2] + found[:, 2:4] > 0).all(axis=1)
            found = found[(found[:, 4] >= min_score) & inside & (found[:, 2:4] > 0).all(axis=1)]
            faces.append(np.insert(found, 0, i, axis=1))
            counts.append(len(found))
        rows = np.concatenate(faces).astype(np.float32)
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[
            ResponseOutput(name="faces", datatype="FP32", shape=list(rows.shape), data=rows.reshape(-1).tolist()),
            ResponseOutput(name="counts", datatype="INT32", shape=[len(counts)], data=counts),
        ])


class ONNX(Faces):
    """YuNet, or a model of the UltraFace kind, from the path in FACE_MODEL or in model-settings.json ("parameters": {"uri": …})."""

    async def load(self) -> bool:
        path = os.environ.get("FACE_MODEL") or self.settings.parameters.uri
        with open(path, "rb") as f:
            content = f.read()
        self.detector = f"{os.path.basename(path)}/{hashlib.sha256(content).hexdigest()[:8]}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("FACE_THREADS", "0"))
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in onnxruntime.get_available_providers()]
        self.session = onnxruntime.InferenceSession(content, options, providers=providers)
        self.outputs_of_model = [o.name for o in self.session.get_outputs()]
        return True

    def run(self, image: np.ndarray) -> dict:
        blob = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        return dict(zip(self.outputs_of_model, self.session.run(None, {self.session.get_inputs()[0].name: blob})))

    def size(self, image: np.ndarray) -> tuple:
        """The model's own input size, or None where it takes any."""
        height, width = self.session.get_inputs()[0].shape[2:]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def find(self, image: np.ndarray) -> np.ndarray:
        found = self.find_yunet(image) if "cls_8" in self.outputs_of_model else self.find_corners(image)
        keep = cv2.dnn.NMSBoxes(found[:, :4].tolist(), found[:, 4].tolist(), 0.1, 0.3) if len(found) else []
        return found[np.array(keep, int).reshape(-1)]

    def find_yunet(self, image: np.ndarray) -> np.ndarray:
        """A cell of a grid of 8, 16 or 32 pixels says how sure it is, and where from it the box lies."""
        fixed, scale = self.size(image), 1.0
        if fixed:
            scale = min(fixed[0] / image.shape[0], fixed[1] / image.shape[1])
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        height, width = fixed or (-(-image.shape[0] // 32) * 32, -(-image.shape[1] // 32) * 32)
        canvas = np.zeros((height, width, 3), np.float32)
        canvas[:image.shape[0], :image.shape[1]] = image[:height, :width]
        out, found = self.run(canvas), []
        for stride in (8, 16, 32):
            rows, cols = np.mgrid[:height // stride, :width // stride].reshape(2, -1)
            box = out[f"bbox_{stride}"].reshape(-1, 4).astype(float)
            score = np.sqrt(np.clip(out[f"cls_{stride}"], 0, 1) * np.clip(out[f"obj_{stride}"], 0, 1)).reshape(-1)
            x, y = (cols + box[:, 0]) * stride, (rows + box[:, 1]) * stride
            w, h = np.exp(box[:, 2]) * stride, np.exp(box[:, 3]) * stride
            found.append(np.stack([(x - w / 2) / scale, (y - h / 2) / scale, w / scale, h / scale, score], axis=1))
        found = np.concatenate(found)
        return found[found[:, 4] > 0.1]

    def find_corners(self, image: np.ndarray) -> np.ndarray:
        height, width = self.size(image) or (240, 320)
        small = cv2.cvtColor(cv2.resize(image, (width, height)), cv2.COLOR_BGR2RGB)
        corners, scores = sorted(self.run((small - 127.0) / 128.0).values(), key=lambda a: -a.shape[-1])
        corners = corners[0].astype(float) * np.tile(image.shape[1::-1], 2)
        found = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], scores[0][:, 1]])
        return found[found[:, 4] > 0.1]
