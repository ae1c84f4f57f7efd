"""The cases of ``fsrcache bench predict``: faces to probabilities, and the first answer of a whole process.

The model has the layers of ``small`` and ``best`` and random weights, since a time does not depend on values. It is
written as ``fsrcache export`` writes one; the reference is the graph's network by PyTorch.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsrcache.benchmarks.epochs import installed
from fsrcache.benchmarks.harness import Case
from fsrcache.deployment.graph import Pipeline
from fsrcache.deployment.onnx_file import INPUT
from fsrcache.deployment.weights import WEIGHTS, ExportedModel, write_exported
from fsrcache.drawn.face import draw_face
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.extractors.onnx_graph import open_session
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.model import load
from fsrcache.models.generators.forms import GeneratorTraining, make_generator
from fsrcache.presets import EXTRACTORS, TRAINING

_FACES, _PIXELS = 64, 16
_ERROR = 1e-4
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_EXPORT = """
import sys
from pathlib import Path
from fsrcache.deployment.graph import Pipeline
from fsrcache.deployment.onnx_file import onnx_model
from fsrcache.deployment.weights import read_exported
weights, graph = map(Path, sys.argv[1:])
graph.write_bytes(onnx_model(Pipeline(read_exported(weights))).SerializeToString())
"""
_PREDICT = "from fsrcache.cli import main; main()"
_BY_ONNX_RUNTIME = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image
face = np.asarray(Image.open(sys.argv[2]).convert("RGB")).transpose(2, 0, 1)[None]
print(json.dumps(onnxruntime.InferenceSession(sys.argv[1]).run(None, {"faces": face})[0].tolist()))
"""


def predict_cases(device: torch.device, *, quick: bool) -> Iterator[Case]:
    """Yield the cases; ONNX Runtime, where it is installed, computes on the CPU."""
    faces = np.stack([draw_face(0, index) for index in range(4 if quick else _FACES)])
    faces = imresize_batch(faces, size=(_PIXELS, _PIXELS))
    planes = np.ascontiguousarray(faces.transpose(0, 3, 1, 2))
    with TemporaryDirectory(prefix="fsrcache-bench-") as name:
        folder = Path(name)
        exported = _model()
        write_exported(folder / WEIGHTS, exported)
        model, network = load(folder, device=device), Pipeline(exported).requires_grad_(False).eval()
        alternatives: dict[str, Any] = {}
        if not predict_not_run():
            graph = folder / "model.onnx"
            # in another process: torch.export refuses what the bench sets the precision of products to
            _process(_EXPORT, str(folder / WEIGHTS), str(graph))
            session = open_session(graph.read_bytes(), where=graph)
            alternatives["ONNX Runtime"] = lambda: torch.from_numpy(session.run(None, {INPUT: planes})[0])
        yield Case(
            name=f"{len(faces)} faces of {_PIXELS} pixels, small", candidate="fsrcache.load",
            work=lambda: torch.from_numpy(model(faces).probabilities), error=_ERROR, samples=len(faces),
            reference=lambda: network(torch.from_numpy(planes)), alternatives=alternatives, clock="host",
        )  # fmt: skip
        picture = folder / "face.png"
        Image.fromarray(faces[0]).save(picture)
        command = "predict", str(picture), "--crops", "--model", name, "--json", "--device", str(device)
        if alternatives:
            alternatives = {"ONNX Runtime": lambda: _process(_BY_ONNX_RUNTIME, str(graph), str(picture))}
        yield Case(
            name="first answer, a whole process", candidate="fsrcache predict", error=_ERROR, to_tensors=_probabilities,
            work=lambda: _process(_PREDICT, *command), reference=lambda: network(torch.from_numpy(planes[:1])),
            alternatives=alternatives, clock="host",
        )  # fmt: skip


def predict_not_run() -> list[str]:
    """Return, in words, which alternatives cannot be run here."""
    missing = [name for name in _PACKAGES if not installed(name)]
    return [f"ONNX Runtime's answers: {' and '.join(missing)} cannot be imported"] if missing else []


def _model() -> ExportedModel:
    torch.manual_seed(0)
    extractor = extractor_of(CovPoolFER(EXTRACTORS["small"], EXPRESSIONS).eval())
    config = TRAINING["best"]
    training: GeneratorTraining = {
        "config": config, "seed": 0, "store": {}, "scales": (1, 2, 4, 8), "channels": 3, "degradation": None,
        "device": "cpu", "precision": "fp32",
        "threads": 1, "plain": False, "order": "", "steps": 0,
    }  # fmt: skip
    generator = make_generator(config.generator, extractor.form).eval()
    return ExportedModel(extractor, generator, training, "default")


def _process(*words: str) -> str:
    return subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, check=True).stdout


def _probabilities(answer: str | Tensor) -> Tensor:
    """Return the probabilities [N, K] of an answer."""
    if isinstance(answer, Tensor):
        return answer
    values = json.loads(answer)
    if isinstance(values, list):
        return torch.tensor(values)
    return torch.tensor([list(values["pictures"][0]["faces"][0]["probabilities"].values())])
