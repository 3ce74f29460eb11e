"""A model with the manners of sentence-transformers: ``encode`` for audio and texts."""

import os
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ..common.closing import Closing
from ..errors import UsageError
from .audio.read import from_array
from .audio.suffixes import decodable_suffixes
from .audio.tracks import one_track
from .bundle.joint import LATENTS
from .encoder_inputs import batched, check_others, column, is_list, samples_of
from .hub.address import HubAddress, is_hub_address
from .load import load
from .model import Model

_SIMILARITIES = ("cosine", "dot")


class Encoder(Closing):
    """Embeddings by ``encode``, as sentence-transformers and mteb ask for them. A context manager.

    Music is embedded as a whole, each piece at its own length. A MuQ-MuLan's audio and texts are in
    one space; a MuQ takes audio alone, whose embedding is the mean of its features over time.

    Args:
        model: a ``Model``, or what ``muqrt.load`` opens: a folder, or ``hf://user/name``.
        revision: of a bundle on the hub.
        similarity_fn_name: what ``similarity`` computes: "cosine", or "dot", which is what mteb has
            for MuQ-MuLan, whose embeddings of audio are not of length one.
        options: ``muqrt.load``'s, such as ``artefact`` and ``threads``; none with a ``Model``.

    Attributes:
        model: the ``Model``, closed with this.
        mteb_model_meta: mteb puts its own record of the model here.

    Raises:
        UsageError: no such similarity, or options for a ``Model`` that is open already; and what
            ``muqrt.load`` raises.
    """

    mteb_model_meta: Any = None

    def __init__(
        self,
        model: Model | str | PathLike[str] | None = None,
        revision: str | None = None,
        *,
        similarity_fn_name: str = "cosine",
        **options: Any,
    ) -> None:
        if similarity_fn_name not in _SIMILARITIES:
            raise UsageError(
                f"similarity {similarity_fn_name!r}: choose among {', '.join(_SIMILARITIES)}."
            )
        if isinstance(model, Model) and options:
            raise UsageError(f"the model is open already: give {', '.join(options)} to muqrt.load.")
        self.similarity_fn_name = similarity_fn_name
        if revision is not None and is_hub_address(model):
            assert isinstance(model, (str, PathLike))
            model = str(HubAddress(HubAddress.parse(fspath(model)).repository, revision))
        self.model = model if isinstance(model, Model) else load(model, **options)

    @property
    def knows_texts(self) -> bool:
        """Whether it is a MuQ-MuLan."""
        return LATENTS in self.model.session.outputs

    def get_sentence_embedding_dimension(self) -> int:
        """Width of an embedding."""
        output = LATENTS if self.knows_texts else "features"
        return int(self.model.session.outputs[output].shape[-1])

    def encode(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        sampling_rate: int | None = None,
        **others: Any,
    ) -> Any:
        """Embed one input or several, audio and texts in any order.

        Audio is a path, a dictionary with "array" and "sampling_rate", a pair (array, rate), or an
        array, (samples,) or (channels, samples), at ``sampling_rate``. A string is a text, or the
        path of an audio file that exists; where the model knows no texts, always a path.

        Args:
            inputs: one input; a list; or mteb's loader of batches, whose columns "audio" and "text"
                are embedded, and added where there are both, as in mteb.
            batch_size: how many inputs to read at a time. How many windows run at once is the
                model's own ``batch_size``.
            show_progress_bar: show how many are done, on a terminal.
            convert_to_numpy: give an array; otherwise a list of tensors.
            convert_to_tensor: give a PyTorch tensor.
            normalize_embeddings: scale each to length one.
            sampling_rate: of arrays that come without one, in Hz.
            others: a task's description (``task_metadata``, ``prompt_type``...), ``device`` and
                others without effect here.

        Returns:
            float32 (inputs, width), or (width,) for one input.

        Raises:
            UsageError: an input of another kind, an array without its rate, or an option that this
                has not. BundleError: the model knows no texts. AudioError: audio that cannot be
                used.
        """
        check_others(others)
        options = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        if hasattr(inputs, "dataset"):
            found = self._of_columns(inputs, options)
        else:
            several, is_one = (inputs, False) if is_list(inputs) else ([inputs], True)
            found = self._of_list(list(several), sampling_rate, options)
            found = found[0] if is_one else found
        if normalize_embeddings:
            found = found / np.linalg.norm(found, axis=-1, keepdims=True).clip(min=1e-12)
        if convert_to_numpy and not convert_to_tensor:
            return found
        import torch

        tensor = torch.from_numpy(found)
        return tensor if convert_to_tensor or tensor.ndim == 1 else list(tensor)

    def get_audio_embeddings(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        sampling_rate: int | None = None,
        **others: Any,
    ) -> np.ndarray:
        """Embed audio, as ``encode`` does, float32 (inputs, width); a string is a path."""
        check_others(others)
        given = (self._audio(each, sampling_rate) for each in column(inputs, "audio"))
        return self._in_batches(given, self._embed_audio, batch_size, show_progress_bar)

    def get_text_embeddings(
        self,
        inputs: Any,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        **others: Any,
    ) -> np.ndarray:
        """Embed texts, each by itself, float32 (inputs, width), of length one."""
        check_others(others)
        texts = column(inputs, "text")
        return self._in_batches(texts, self.model.embed_text, batch_size, show_progress_bar)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """How near each of some embeddings is to each of others: (first, second).

        Tensors give a tensor, arrays an array.
        """
        first, second = (np.atleast_2d(self._compared(x)) for x in (embeddings1, embeddings2))
        return _like(first @ second.T, embeddings1)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """How near each embedding is to the one at the same place: (embeddings,)."""
        first, second = self._compared(embeddings1), self._compared(embeddings2)
        return _like(np.sum(first * second, axis=-1), embeddings1)

    def close(self) -> None:
        """Close the model."""
        self.model.close()

    def _compared(self, embeddings: Any) -> np.ndarray:
        if hasattr(embeddings, "detach"):
            embeddings = embeddings.detach().float().cpu()
        values = np.asarray(embeddings, np.float32)
        if self.similarity_fn_name == "cosine":
            values = values / np.linalg.norm(values, axis=-1, keepdims=True).clip(min=1e-12)
        return values

    def _of_list(
        self, inputs: Sequence[Any], rate_hz: int | None, options: dict[str, Any]
    ) -> np.ndarray:
        is_text = [self._is_text(each) for each in inputs]
        found = np.empty((len(inputs), self.get_sentence_embedding_dimension()), np.float32)
        texts = [place for place, yes in enumerate(is_text) if yes]
        audio = [place for place, yes in enumerate(is_text) if not yes]
        if texts:
            found[texts] = self.get_text_embeddings([inputs[each] for each in texts], **options)
        if audio:
            given = [inputs[each] for each in audio]
            found[audio] = self.get_audio_embeddings(given, sampling_rate=rate_hz, **options)
        return found

    def _of_columns(self, loader: Any, options: dict[str, Any]) -> np.ndarray:
        features = loader.dataset.features
        found = []
        if "text" in features:
            found.append(self.get_text_embeddings(loader, **options))
        if "audio" in features:
            found.append(self.get_audio_embeddings(loader, **options))
        if not found:
            raise UsageError(f"columns {', '.join(features)}: 'audio' or 'text' is needed.")
        return np.sum(found, axis=0)

    def _is_text(self, given: Any) -> bool:
        if not isinstance(given, str) or not self.knows_texts:
            return False
        has_suffix = Path(given).suffix.lower() in decodable_suffixes()
        return not has_suffix or not os.path.isfile(given)  # noqa: PTH113 - False if too long

    def _audio(self, given: Any, rate_hz: int | None) -> Any:
        """A path as it is; samples as mono at the model's rate."""
        if isinstance(given, (str, PathLike)):
            return given
        track = one_track(*samples_of(given, rate_hz))  # which refuses a batch of tracks
        assert isinstance(track.source, np.ndarray) and track.rate_hz is not None
        return from_array(track.source, track.rate_hz, self.model.framing.sample_rate_hz)

    def _embed_audio(self, audio: list[Any]) -> np.ndarray:
        embed = self.model.embed_audio if self.knows_texts else self.model.embed
        return embed(audio, self.model.framing.sample_rate_hz)

    def _in_batches(
        self, inputs: Iterable[Any], embed: Any, batch_size: int, show: bool | None
    ) -> np.ndarray:
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}; it must be at least 1.")
        found = [np.empty((0, self.get_sentence_embedding_dimension()), np.float32)]
        for batch in _shown(batched(inputs, batch_size), bool(show)):
            found.append(embed(batch))
        return np.concatenate(found)


def _shown(batches: Iterable[list[Any]], show: bool) -> Iterator[list[Any]]:
    """The batches, with a bar that counts their inputs."""
    if not show:
        yield from batches
        return
    from ..common.console import progress

    with progress("Encoding", None) as bar:
        for batch in batches:
            yield batch
            bar.advance(steps=len(batch))


def _like(values: np.ndarray, given: Any) -> Any:
    """As a tensor where a tensor was given."""
    if not hasattr(given, "detach"):
        return values
    import torch

    return torch.from_numpy(np.asarray(values))
