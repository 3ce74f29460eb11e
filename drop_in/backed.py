"""An ``nn.Module`` that answers from a bundle."""

import sys
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, MuqrtError, UsageError
from ..reference.checkpoint import checkpoint_sha256
from ..reference.hub import HubOptions
from ..reference.weights import checked_state, read_weights, weights_file
from ..runtime.bundle.manifest import Artefact, Bundle, load_bundle
from ..runtime.engines.session import Session
from .backing import Backing, backing
from .choice import open_best
from .refusals import refuse
from .usual import USUAL

if TYPE_CHECKING:
    from typing_extensions import Self

_Backed = TypeVar("_Backed", bound="Backed")


class Backed(nn.Module):
    """A model in a bundle, with the manners of ``torch.nn.Module``.

    Its only parameter is empty. It is there for its device and dtype, which ``to``, ``half`` and
    all others change as they do any module's, also a module's that this one is a part of; then
    another artefact answers. There is no training mode: ``train()`` is refused, and that of a
    module around this one leaves it as it is.
    """

    _gives_levels = False  # whether it answers with hidden states, which not every engine gives

    def __init__(self) -> None:
        super().__init__()
        self.training = False
        self.placement = nn.Parameter(torch.empty(0), requires_grad=False)
        self._backing: Backing | None = None
        self._artefact: str | None = None
        self._threads: int | None = None
        self._hub = HubOptions()
        self._open: Session | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        cache_dir: str | PathLike[str] | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
        artefact: str | None = None,
        threads: int | None = None,
    ) -> "Self":
        """Open a bundle, or export a checkpoint once and open that.

        What is exported stays in the cache ($MUQRT_CACHE, or muqrt in the user's), under the hash
        of the checkpoint's files: later calls find it.

        Args:
            pretrained_model_name_or_path: a bundle's folder, a checkpoint's, or a hub id.
            cache_dir, revision, local_files_only, token, force_download: as huggingface_hub has
                them.
            artefact: which of the bundle's artefacts answers in float32, such as onnx-int8; the
                best certified one for the device when None.
            threads: for the engine on a CPU; all physical cores when None.

        Raises:
            CheckpointError: neither a bundle nor a checkpoint. BundleError: the bundle changed, or
                has no such artefact with a certificate. ParityError: the export's numbers are not
                the reference's.
        """
        folder = None if cache_dir is None else str(cache_dir)
        hub = HubOptions(folder, revision, local_files_only, token, force_download)
        found = cls._empty()
        found._artefact = USUAL.artefact if artefact is None else artefact
        found._threads, found._hub = threads, hub
        found._answer_from(backing(pretrained_model_name_or_path, hub))
        return found

    @classmethod
    def _empty(cls: type[_Backed]) -> _Backed:
        """One without a configuration yet."""
        found = cls.__new__(cls)
        Backed.__init__(found)
        return found

    def _answer_from(self, found: Backing) -> None:
        """Take a bundle, and open its artefact: errors come now and not with the first answer."""
        bundle = load_bundle(found.bundle)
        opened = self._opened(bundle)
        self._configure(bundle, found)
        self._backing = found
        self._take(*opened)

    def _configure(self, bundle: Bundle, found: Backing) -> None:
        """Set what callers read of the configuration."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where its answers are computed."""
        return self.placement.device

    @property
    def dtype(self) -> torch.dtype:
        """The answers' dtype."""
        return self.placement.dtype

    @property
    def _session(self) -> Session:
        if self._open is None:
            self._take(*self._opened(load_bundle(self._backed.bundle)))
            assert self._open is not None
        return self._open

    def _opened(self, bundle: Bundle) -> tuple[Bundle, Session, Artefact]:
        about = self.device, self.dtype, self._artefact, self._threads
        return bundle, *open_best(bundle, *about, levels=self._gives_levels)

    def _take(self, bundle: Bundle, session: Session, artefact: Artefact) -> None:
        """Answer from this session; the answers that still need the one before keep it open."""
        self._open = session
        self._level, self._depth = artefact.level, bundle.architecture["encoder_depth"]

    @property
    def _backed(self) -> Backing:
        if self._backing is None:
            raise UsageError(
                f"this {type(self).__name__} has no weights yet: load_state_dict gives it some, "
                "and from_pretrained makes one that has."
            )
        return self._backing

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        before = self.placement.data
        super()._apply(fn, recurse)
        moved = (self.device, self.dtype) != (before.device, before.dtype)
        if moved and self._backing is not None:
            try:
                self._take(*self._opened(load_bundle(self._backing.bundle)))
            except MuqrtError:
                self.placement.data = before
                raise
        return self

    def train(self, mode: bool = True) -> "Self":
        """Raise UsageError for a training mode; ``eval()`` changes nothing.

        Inside another module it stays in eval and lets the other train: a head is trained so.
        """
        # A module's train() calls that of each one below it, and says nothing of itself.
        by_another = sys._getframe(1).f_code is nn.Module.train.__code__
        if mode and not by_another:
            refuse("train()")
        return self

    def requires_grad_(self, requires_grad: bool = True) -> "Self":
        """Raise UsageError for gradients; False changes nothing."""
        if requires_grad:
            refuse("requires_grad_()")
        return self

    def add_adapter(self, *arguments: Any, **named: Any) -> None:
        """Raise UsageError: there are no layers to adapt."""
        refuse("an adapter (LoRA)")

    def state_dict(self, *arguments: Any, **named: Any) -> Any:
        """The source's weights, under the official names.

        Raises:
            UsageError: only a bundle was named, and its checkpoint is not where it was.
        """
        destination = named.get("destination", arguments[0] if arguments else None)
        prefix = named.get("prefix", arguments[1] if len(arguments) > 1 else "")
        found = {} if destination is None else destination
        found.update({f"{prefix}{name}": each for name, each in self._weights().items()})
        return found

    def _weights(self) -> Mapping[str, Tensor]:
        folder = self._backed.checkpoint
        if folder is None:
            bundle = load_bundle(self._backed.bundle)
            folder = backing_checkpoint(bundle)
        path = weights_file(folder)
        return checked_state(read_weights(path), path)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Tensor],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = {
            name[len(prefix) :]: each
            for name, each in state_dict.items()
            if name.startswith(prefix)
        }
        if not own:  # such as a head's own weights, for the module around both
            missing_keys.append(f"{prefix}*")
            return
        try:
            own = dict(checked_state(own, f"the weights of {type(self).__name__}"))
            self._answer_from(self._backing_of(own))
        except CheckpointError as error:
            error_msgs.append(str(error))

    def _backing_of(self, state: Mapping[str, Tensor]) -> Backing:
        """The bundle of these weights and the model's own configuration."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open, which another process opens again."""
        return {**self.__dict__, "_open": None}


def backing_checkpoint(bundle: Bundle) -> Any:
    """The folder of a bundle's checkpoint, if it is where it was.

    Raises:
        UsageError: it is not, or holds another checkpoint by now.
    """
    from pathlib import Path

    folder = Path(bundle.source.checkpoint)
    try:
        if checkpoint_sha256(folder) == bundle.source.sha256:
            return folder
    except CheckpointError:
        pass
    raise UsageError(
        f"{bundle.folder}: a bundle has no state dict, and the checkpoint it was made from is "
        f"missing or has changed ({folder}). Give from_pretrained the checkpoint."
    )


def waveforms(x: Any, what: str = "x") -> Tensor:
    """A batch of waveforms as float32 on the CPU.

    Raises:
        UsageError: not a tensor of floating-point numbers, (batch, samples), or one that asks for
            gradients.
    """
    if not isinstance(x, Tensor):
        raise UsageError(f"{what} is of type {type(x).__name__}; a tensor is needed.")
    if x.ndim != 2 or 0 in x.shape:
        raise UsageError(
            f"{what} has shape {tuple(x.shape)}; (batch, samples) is needed: unsqueeze(0) makes "
            "one waveform a batch."
        )
    if not x.is_floating_point():
        raise UsageError(f"{what} is {x.dtype}; floating-point samples from -1 to 1 are needed.")
    if x.requires_grad and torch.is_grad_enabled():
        refuse(f"gradients of {what}")
    return x.detach().to("cpu", torch.float32).contiguous()
