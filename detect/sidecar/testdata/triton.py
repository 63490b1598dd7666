"""Asks the sidecar by NVIDIA's own client and prints what it got as JSON: triton.py HOST:PORT MODEL FILE…"""
import json
import sys

import numpy as np
import tritonclient.http as http

address, model, *files = sys.argv[1:]
client = http.InferenceServerClient(address)
meta = client.get_model_metadata(model)
said = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready(model),
    "extensions": client.get_server_metadata()["extensions"],
    "inputs": meta["inputs"],
    "outputs": meta["outputs"],
}
images = http.InferInput("images", [len(files)], "BYTES")
images.set_data_from_numpy(np.array([open(f, "rb").read() for f in files], dtype=object), binary_data=True)


def infer(binary, parameters=None):
    outputs = [http.InferRequestedOutput(n, binary_data=binary) for n in ("faces", "counts")]
    answer = client.infer(model, [images], outputs=outputs, request_id="7", parameters=parameters)
    return {"faces": answer.as_numpy("faces").tolist(), "counts": answer.as_numpy("counts").tolist(), "id": answer.get_response()["id"]}


said["binary"] = infer(True)
said["json"] = infer(False)
said["all"] = client.infer(model, [images]).as_numpy("counts").tolist()
said["strict"] = infer(True, {"min_score": 100000.0})
said["async"] = client.async_infer(model, [images]).get_result().as_numpy("counts").tolist()
try:
    infer(True, {"no_such_flag": 1})
    said["refused"] = ""
except Exception as e:
    said["refused"] = str(e)
print(json.dumps(said))
