"""``mulan_text``: texts to latents.

Only translates requests to texts; the text tower, a model of its own, encodes them together.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError, UsageError
from muqrt.runtime.bundle.joint import LATENTS
from muqrt.runtime.text.encoder import TextEncoder
from muqrt.triton_repo.backends.python.batched import BatchedModel, lines
from muqrt.triton_repo.backends.python.tower import TowerSession
from muqrt.triton_repo.contract.limits import Limits
from muqrt.triton_repo.contract.mulan import TEXT, TEXT_TOWER, UNLEARNED, tower_in
from muqrt.triton_repo.repository.mulan import load_tokenizer, load_words
from muqrt.triton_repo.serving.latent_cache import RecentLatents


class TextModel(BatchedModel[str, np.ndarray]):
    """Encodes texts, and keeps the most recent embeddings."""

    def _load(self, folder: Path, parameters: Mapping[str, str]) -> None:
        self._most_bytes = Limits.from_parameters(parameters).max_text_bytes
        tower = tower_in(parameters, TEXT_TOWER)
        texts = load_tokenizer(folder, tower.joint), load_words(folder, parameters)
        self._encoder = TextEncoder(TowerSession(tower), *texts)
        self._recent: RecentLatents[str] = RecentLatents()

    def _start(self) -> None:
        self._publish()

    def _read(self, request: Any) -> str:
        array = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, TEXT))
        if len(array) != 1:
            raise UsageError(f"{len(array)} texts; send each in a request of its own.")
        if not 1 <= array.shape[1] <= self._most_bytes:
            raise UsageError(
                f"a text of {array.shape[1]} bytes; it may have 1 to {self._most_bytes} "
                "(limits.max_text_bytes of muqrt repository)."
            )
        try:
            return array.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"the text is not UTF-8: {error}.") from None

    def _answer(self, asked: list[str]) -> list[np.ndarray] | list[MuqrtError]:
        try:
            return list(self._recent.of(asked, self._encoder.encode))
        except MuqrtError as error:
            return [error] * len(asked)
        finally:
            self._publish()

    def _outputs(self, found: np.ndarray, request: Any) -> dict[str, np.ndarray]:
        outputs = {LATENTS: found}
        if UNLEARNED in (names := request.requested_output_names()):
            outputs[UNLEARNED] = lines(self._encoder.unlearned(self._read(request)) or ())
        return {name: outputs[name] for name in names}

    def _publish(self) -> None:
        asked, found = self._recent.asked, self._recent.found
        self._metrics.count("muqrt_texts_total", "Texts that were embedded or remembered", asked)
        self._metrics.count(
            "muqrt_texts_remembered_total", "Texts that were not computed again", found
        )
