"""Labels for waveforms behind Triton's Python backend: the ``model.py`` of ``zeroshot``.

``muqrt repository`` copies it beside the tokenizer. It only translates: requests to questions,
answers to responses. muqrt itself is installed in the server's Python.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError, UsageError
from muqrt.runtime.engines.session import WAVEFORM
from muqrt.runtime.text.encoder import TextEncoder
from muqrt.triton_repo.backends.onnxruntime.model import Shared
from muqrt.triton_repo.backends.python.tower import TowerSession, cancelled, failure
from muqrt.triton_repo.contract.label_sets import FOLDER, LabelSets
from muqrt.triton_repo.contract.mulan import (
    AUDIO_TOWER,
    CLIP_COSINES,
    COSINES,
    LABEL_SET,
    LABEL_SETS,
    LABELS,
    NAMES,
    PROBABILITIES,
    TEMPLATES,
    TEXT_TOWER,
    tower_in,
)
from muqrt.triton_repo.repository.mulan import load_tokenizer
from muqrt.triton_repo.serving.zero_shot import Answer, Question, ZeroShotService


class TritonPythonModel:
    """The only instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer in ``<model_repository>/<version>``."""
        config = json.loads(args["model_config"])
        parameters = {name: each["string_value"] for name, each in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            audio, text = tower_in(parameters, AUDIO_TOWER), tower_in(parameters, TEXT_TOWER)
            encoder = TextEncoder(TowerSession(text), load_tokenizer(folder, text.joint))
            sets = LabelSets(Path(parameters.get(LABEL_SETS, folder / FOLDER)))
            session = TowerSession(audio)
            self._service = ZeroShotService(session, encoder.encode, sets, audio.max_batch_size)
        except MuqrtError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all requests together."""
        responses: list[Any] = [None] * len(requests)
        questions: dict[int, Question] = {}
        for place, request in enumerate(requests):
            if request.is_cancelled():
                responses[place] = cancelled()
                continue
            try:
                questions[place] = _question(request)
            except UsageError as refusal:
                responses[place] = failure(refusal)
        answers = self._service.answer(list(questions.values()))
        for place, answer in zip(questions, answers, strict=True):
            responses[place] = _response(answer, requests[place].requested_output_names())
        return responses


def _question(request: Any) -> Question:
    def row(name: str) -> np.ndarray | None:
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        if tensor is None:
            return None
        array = np.from_dlpack(tensor)
        if len(array) != 1:
            raise UsageError(f"{len(array)} rows of {name}; send each waveform in its own request.")
        return array[0]

    def text(name: str) -> bytes | None:
        found = row(name)
        return None if found is None else found.tobytes()

    waveform = row(WAVEFORM)
    assert waveform is not None  # Triton refuses a request without it
    return Question(waveform, text(LABELS), text(TEMPLATES), text(LABEL_SET))


def _response(answer: Answer | MuqrtError, wanted: list[str]) -> Any:
    if isinstance(answer, MuqrtError):
        return failure(answer)
    names = np.frombuffer("\n".join(answer.labels).encode(), np.uint8)
    outputs = {
        COSINES: answer.cosines,
        PROBABILITIES: answer.probabilities,
        CLIP_COSINES: answer.clip_cosines,
        NAMES: names.copy(),  # DLPack takes no array that cannot be written to
    }
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor.from_dlpack(name, Shared(outputs[name][None])) for name in wanted]
    )
