"""Run in a process of its own, on an emulated processor: the graphs and the bundle in a folder.

Each ``NAME.onnx`` is run on ``NAME.npz`` and answers into ``NAME.npy``; ``bundle``, a bundle, on
``waveform.npy`` into ``features.npy``. The processor's features are printed, as numpy sees them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy._core._multiarray_umath import __cpu_features__

from muqrt.runtime.bundle.manifest import load_bundle
from muqrt.runtime.engines.onnxruntime.session import OnnxSession

folder = Path(sys.argv[1])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
for path in folder.glob("*.onnx"):
    engine = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with np.load(path.with_suffix(".npz")) as inputs:
        np.save(path.with_suffix(".npy"), engine.run(None, dict(inputs))[0])

bundle = load_bundle(folder / "bundle")
with OnnxSession(bundle, bundle.artefact(), threads=1) as session:
    answers = session.run({"waveform": np.load(folder / "waveform.npy")}, ["features"])
np.save(folder / "features.npy", answers["features"])
print(json.dumps({name for name, has in __cpu_features__.items() if has}, default=sorted))
