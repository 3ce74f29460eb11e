"""``MuQMuLan`` with the official signature."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ..common.files import cache_folder
from ..common.validation import first_problem
from ..errors import BundleError, CheckpointError, UsageError
from ..reference.checkpoint import CONFIG_FILE
from ..reference.hub import HubOptions
from ..reference.mulan.checkpoint import TOKENIZER_FILE, check_encoder_names, encoder_folder
from ..reference.mulan.config import read_config_as
from ..reference.mulan.model import clips_of
from ..runtime.bundle.joint import LATENTS, Joint
from ..runtime.bundle.manifest import Bundle
from ..runtime.engines.session import WAVEFORM
from ..runtime.text.encoder import TextEncoder, open_text_encoder
from .backed import Backed, waveforms
from .backing import Backing, backing_of_state
from .configs import MuQMuLanConfig
from .refusals import Inside, refuse


class MuQMuLan(Backed):
    """Music and texts in one space, as ``muq.MuQMuLan`` gives them.

    ``from_pretrained`` opens a bundle or a checkpoint. The constructor takes a configuration, and
    ``load_state_dict`` the weights.

    Args:
        config: a ``MuQMuLanConfig``, or the same as a dict. The encoders' own configurations, and
            the tokenizer, are in folders of their names or on the hub.
        hf_hub_cache_dir: where the hub keeps files; its own choice when None.

    Attributes:
        config: the configuration; None for a bundle that was named itself.
        sr: the sample rate, in Hz.
        clip_secs: longer audio is cut in clips of so many seconds.
    """

    def __init__(
        self, config: MuQMuLanConfig | dict[str, Any], hf_hub_cache_dir: str | None = None
    ) -> None:
        super().__init__()
        self._hub = HubOptions(hf_hub_cache_dir)
        self._texts: TextEncoder | None = None
        document = config if isinstance(config, dict) else asdict(config)
        try:
            self.config: MuQMuLanConfig | None = TypeAdapter(MuQMuLanConfig).validate_python(
                document
            )
        except ValidationError as error:
            raise CheckpointError(f"config: {first_problem(error)}.") from None
        self.sr, self.clip_secs = self.config.mulan.sr, self.config.mulan.clip_secs

    def forward(
        self,
        wavs: Tensor | Sequence[Tensor] | None = None,
        texts: str | Sequence[str] | None = None,
        *,
        parallel_processing: bool = False,
    ) -> Tensor:
        """Embeddings of music or of texts, (batch, width).

        Args:
            wavs: (batch, samples) floating-point at 24 kHz, or a list of (samples,).
            texts: one or several.
            parallel_processing: run all clips of a waveform at once, in more memory.

        Raises:
            UsageError: both, or neither.
        """
        if (wavs is None) == (texts is None):
            raise UsageError("MuQMuLan takes either wavs or texts.")
        if wavs is not None:
            return self.extract_audio_latents(wavs, parallel_processing=parallel_processing)
        assert texts is not None
        return self.extract_text_latents(texts)

    def extract_audio_latents(
        self, wavs: Tensor | Sequence[Tensor], *, parallel_processing: bool = False
    ) -> Tensor:
        """The mean of each waveform's clips, (batch, width), on the model's device.

        Args:
            wavs: (batch, samples) floating-point at 24 kHz, or a list of (samples,).
            parallel_processing: run all clips of a waveform at once, in more memory.
        """
        if isinstance(wavs, Tensor):
            waveforms(wavs, "wavs")
        elif not isinstance(wavs, (list, tuple)) or not wavs:
            raise UsageError(f"wavs is of type {type(wavs).__name__}; a tensor is needed.")
        means = []
        for wav in wavs:
            clips = self._get_all_clips(wav)
            parts = [clips] if parallel_processing else clips.split(1)
            latents = torch.cat([self._clip_latents(each) for each in parts])
            means.append(latents.mean(dim=0))
        return torch.stack(means).to(self.device, self.dtype)

    def extract_text_latents(self, texts: str | Sequence[str]) -> Tensor:
        """Embeddings of texts, (texts, width), each of length one, on the model's device.

        As in the official package a batch's padding counts: a text's depends on the longest text
        beside it. ``muqrt.load(...).embed_text`` gives that of each text alone.
        """
        if self._texts is None:
            self._texts = open_text_encoder(self._backed.bundle, threads=self._threads)
        if not isinstance(texts, str):
            texts = list(texts)
        found = torch.from_numpy(self._texts.encode_with_padding(texts))
        return found.to(self.device, self.dtype)

    def calc_similarity(self, audio_latents: Tensor, text_latents: Tensor) -> Tensor:
        """Products of embeddings: of batches (music, texts), of one with a batch (batch,), of one
        with one a number."""
        shapes = audio_latents.ndim, text_latents.ndim
        if not all(ndim in (1, 2) for ndim in shapes):
            raise UsageError(f"embeddings of {shapes} dimensions; 1 or 2 are needed.")
        return audio_latents @ text_latents.mT if shapes[1] == 2 else audio_latents @ text_latents

    def frozen(self) -> None:
        """Do nothing: nothing here can be trained."""

    @property
    def mulan_module(self) -> "MuLanModule":
        """Embeddings of single clips."""
        return MuLanModule(self)

    @property
    def mulan(self) -> "MuLanModule":
        """The same."""
        return self.mulan_module

    def _get_all_clips(self, audio: Tensor) -> Tensor:
        """Cut a waveform (samples,) in clips (clips, samples of one); the last is wrapped round."""
        if not isinstance(audio, Tensor) or audio.ndim != 1 or not len(audio):
            raise UsageError("a waveform (samples,) is needed to cut clips of.")
        return clips_of(audio[None], round(self.sr * self.clip_secs))[0]

    def _clip_latents(self, clips: Tensor) -> Tensor:
        """Embeddings of clips (batch, samples): (batch, width) float32 on the CPU."""
        given = {WAVEFORM: waveforms(clips, "wavs").numpy()}
        return torch.from_numpy(self._session.run(given, [LATENTS])[LATENTS])

    def _configure(self, bundle: Bundle, found: Backing) -> None:
        joint = bundle.joint
        if joint is None:
            raise BundleError(f"{found.bundle}: {Joint.how_to_get}")
        config: MuQMuLanConfig | None = None
        if found.checkpoint is not None:
            config = read_config_as(MuQMuLanConfig, found.checkpoint / CONFIG_FILE)
        self.config, self._texts = config, None
        self.sr = bundle.framing.sample_rate_hz
        self.clip_secs = joint.clip_samples // self.sr

    def _backing_of(self, state: Mapping[str, Tensor]) -> Backing:
        if self.config is None:
            raise UsageError(
                f"{self._backed.bundle}: a bundle has no configuration to load weights for. Give "
                "from_pretrained the checkpoint, or MuQMuLan a MuQMuLanConfig."
            )
        # What a checkpoint's configuration names is looked for beside it.
        found = None if self._backing is None else self._backing.checkpoint
        besides: dict[str, Path] = {}
        for name in (self.config.audio_model.name, self.config.text_model.name):
            folder = encoder_folder(found or Path(), name, self._hub)
            if Path(name).is_absolute():
                continue  # to be found again where it is
            check_encoder_names([name], cache_folder())
            for file in (CONFIG_FILE, TOKENIZER_FILE):
                if (folder / file).is_file():
                    besides[f"{name}/{file}"] = folder / file
        return backing_of_state(asdict(self.config), state, self._hub, besides)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open."""
        return {**super().__getstate__(), "_texts": None}


class MuLanModule(Inside):
    """What the official class has below itself.

    Args:
        model: whose.
    """

    def __init__(self, model: MuQMuLan) -> None:
        super().__init__("MuQMuLan.mulan")
        self._model = model

    def get_audio_latents(self, wavs: Tensor, return_all_layers: bool = False) -> Tensor:
        """Embeddings of clips (batch, samples): (batch, width), each of length one."""
        if return_all_layers:
            refuse("return_all_layers")
        found = self._model._clip_latents(wavs)
        return found.to(self._model.device, self._model.dtype)

    def get_text_latents(
        self,
        texts: None = None,
        raw_texts: Sequence[str] | None = None,
        return_all_layers: bool = False,
    ) -> Tensor:
        """Embeddings of texts, (texts, width), each of length one."""
        if return_all_layers or texts is not None:
            refuse("return_all_layers" if return_all_layers else "tokens as texts")
        if raw_texts is None:
            raise UsageError("get_text_latents needs raw_texts.")
        return self._model.extract_text_latents(raw_texts)
