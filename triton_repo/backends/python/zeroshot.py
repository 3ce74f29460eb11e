"""``zeroshot``: labels for waveforms.

Only translates: requests to questions, answers to outputs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError, UsageError
from muqrt.runtime.engines.session import WAVEFORM
from muqrt.runtime.text.encoder import TextEncoder
from muqrt.triton_repo.backends.python.batched import BatchedModel, lines
from muqrt.triton_repo.backends.python.tower import TowerSession
from muqrt.triton_repo.contract import mulan as contract
from muqrt.triton_repo.contract.label_sets import FOLDER, LabelSets
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.repository.mulan import load_tokenizer, load_words
from muqrt.triton_repo.serving.zero_shot import Answer, Question, ZeroShotService


class ZeroShotModel(BatchedModel[Question, Answer]):
    """Answers questions with the two towers, which are models of their own."""

    def _load(self, folder: Path, parameters: Mapping[str, str]) -> None:
        audio = contract.tower_in(parameters, contract.AUDIO_TOWER)
        text = contract.tower_in(parameters, contract.TEXT_TOWER)
        encoder = TextEncoder(TowerSession(text), load_tokenizer(folder, text.joint))
        sets = LabelSets(Path(parameters.get(contract.LABEL_SETS, folder / FOLDER)))
        session, limits = TowerSession(audio), Limits.from_parameters(parameters)
        rest = audio.max_batch_size, limits, load_words(folder, parameters)
        self._service = ZeroShotService(session, encoder.encode, sets, *rest)

    def _read(self, request: Any) -> Question:
        waveform = _row(request, WAVEFORM)
        assert waveform is not None  # Triton refuses a request without it
        texts = (contract.LABELS, contract.TEMPLATES, contract.LABEL_SET)
        return Question(waveform, *(_text(request, name) for name in texts))

    def _answer(self, asked: list[Question]) -> list[Answer | MuqrtError]:
        return self._service.answer(asked)

    def _outputs(self, found: Answer, request: Any) -> dict[str, np.ndarray]:
        outputs = {
            contract.COSINES: found.cosines,
            contract.PROBABILITIES: found.probabilities,
            contract.CLIP_COSINES: found.clip_cosines,
            contract.NAMES: lines(found.labels),
            contract.UNLEARNED: lines(found.unlearned or ()),
        }
        return {name: outputs[name] for name in request.requested_output_names()}


def _row(request: Any, name: str) -> np.ndarray | None:
    """An optional input without its batch dimension; a request holds one waveform."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    array = np.from_dlpack(tensor)
    if len(array) != 1:
        raise UsageError(f"{len(array)} rows of {name}; send each waveform in its own request.")
    return array[0]


def _text(request: Any, name: str) -> bytes | None:
    found = _row(request, name)
    return None if found is None else found.tobytes()
