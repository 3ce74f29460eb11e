"""MuQ-MuLans in the official layout: loaded strictly, written whole or not at all.

The official ``config.json`` only names the two pretrained encoders, whose shapes are in their own.
These are looked for below the checkpoint's folder first, and fetched from the hub otherwise:

    config.json
    model.safetensors or pytorch_model.bin        every weight, the encoders' among them
    OpenMuQ/MuQ-large-msd-iter/config.json        under the names that config.json has
    xlm-roberta-base/config.json, tokenizer.json

Beside the tokenizer may be ``words.txt``, the words of the captions that it was trained on.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.documents import read_json
from ...common.files import atomic_folder, sha256
from ...common.words import WORDS_FILE
from ...errors import CheckpointError
from ..checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_replaceable,
    save_config,
    stored_state,
)
from ..config import COUNTS as MUQ_COUNTS
from ..config import MuQConfig, read_config
from ..hub import USUAL, HubOptions, download, is_hub_id
from ..stored import save_tensors
from ..weights import (
    TORCH_WEIGHTS_FILE,
    checked_state,
    load_strictly,
    read_weights,
    weights_file,
)
from .config import COUNTS, MuLanConfig, read_config_as
from .model import MuLan, check_fit
from .xlm_roberta import XLMRobertaConfig

TOKENIZER_FILE = "tokenizer.json"
_SECTION = "mulan"  # of the configuration, which a MuQ's has not
# Saved by transformers before 4.31: 0, 1, 2, ...
_NOT_A_WEIGHT = "mulan.text.model.embeddings.position_ids"


@dataclass
class MuLanCheckpoint:
    """A loaded model and where it is from.

    Attributes:
        model: in eval mode.
        name: what it was asked for by.
        sha256: of the weights' file and all three configurations.
        tokenizer: the text encoder's ``tokenizer.json``, if there is one.
        words: the file of its ``LearnedWords``, if there is one.
    """

    model: MuLan
    name: str
    sha256: str
    tokenizer: Path | None
    words: Path | None = None

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.model.parameters())


@dataclass(frozen=True)
class MuLanFiles:
    """A MuQ-MuLan's files, its configurations already read.

    Attributes:
        config: of both towers.
        muq, xlm_roberta: of the encoders below them.
        weights: the file with every weight.
        text_encoder: folder of the text encoder's configuration and tokenizer.
    """

    config: MuLanConfig
    muq: MuQConfig
    xlm_roberta: XLMRobertaConfig
    weights: Path
    text_encoder: Path

    @property
    def settings(self) -> list[dict[str, Any]]:
        """The three configurations."""
        return [dataclasses.asdict(each) for each in (self.config, self.muq, self.xlm_roberta)]

    @property
    def sha256(self) -> str:
        """One hash over the configurations and the weights' file."""
        document = f"{json.dumps(self.settings, sort_keys=True)}\n{sha256(self.weights)}"
        return hashlib.sha256(document.encode()).hexdigest()

    @property
    def tokenizer(self) -> Path | None:
        """The text encoder's ``tokenizer.json``, if there is one."""
        return self._beside(TOKENIZER_FILE)

    @property
    def words(self) -> Path | None:
        """The file of its ``LearnedWords``, if there is one."""
        return self._beside(WORDS_FILE)

    def _beside(self, name: str) -> Path | None:
        path = self.text_encoder / name
        return path if path.is_file() else None


def is_mulan(source: str | Path) -> bool:
    """Whether a folder or a hub id is a MuQ-MuLan's, by its configuration."""
    folder = Path(source)
    if not folder.exists() and is_hub_id(source):
        folder = download(str(source), [CONFIG_FILE])
    try:
        config = read_json(folder / CONFIG_FILE)
    except (OSError, ValueError):
        return False  # what is wrong with it the loader says
    return isinstance(config, dict) and _SECTION in config


def load_mulan(source: str | Path, hub: HubOptions = USUAL) -> MuLanCheckpoint:
    """Load a MuQ-MuLan strictly.

    Args:
        source: a folder of the official layout, or a hub id such as ``OpenMuQ/MuQ-MuLan-large``.
        hub: how what is not in a folder is fetched.

    Raises:
        CheckpointError: not found, unreadable, an unsupported configuration, or a missing,
            unexpected or wrongly shaped key, which the message names.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not is_hub_id(source):
            raise CheckpointError(
                f"{source}: no such folder, nor a hub id such as OpenMuQ/MuQ-MuLan-large."
            )
        folder = download(str(source), [CONFIG_FILE, WEIGHTS_FILE, TORCH_WEIGHTS_FILE], hub)
    files = mulan_files(folder, hub)
    config, muq, xlm_roberta = files.config, files.muq, files.xlm_roberta
    state = dict(checked_state(read_weights(files.weights), files.weights))
    state.pop(_NOT_A_WEIGHT, None)
    parts = dict(zip(("mulan", "muq", "xlm_roberta"), files.settings, strict=True))
    try:
        check_fit(config, muq, xlm_roberta)
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}") from None
    model = load_strictly(
        lambda: MuLan(config, muq, xlm_roberta), parts, COUNTS | MUQ_COUNTS, state, str(source)
    )
    return MuLanCheckpoint(model, str(source), files.sha256, files.tokenizer, files.words)


def mulan_files(folder: Path, hub: HubOptions = USUAL) -> MuLanFiles:
    """Find a checkpoint's files, without loading weights.

    Args:
        folder: of the official layout.
        hub: how the encoders' configurations are fetched where they are not in the folder.

    Raises:
        CheckpointError: one is missing, cannot be fetched, or cannot be read.
    """
    config = read_config_as(MuLanConfig, folder / CONFIG_FILE)
    weights = weights_file(folder)
    text_encoder = encoder_folder(folder, config.text_model.name, hub)
    muq = read_config(encoder_folder(folder, config.audio_model.name, hub) / CONFIG_FILE)
    xlm_roberta = read_config_as(XLMRobertaConfig, text_encoder / CONFIG_FILE)
    return MuLanFiles(config, muq, xlm_roberta, weights, text_encoder)


def save_mulan(
    model: MuLan,
    folder: Path,
    tokenizer: Path | None = None,
    half: bool = False,
    words: Path | None = None,
) -> None:
    """Write the three configurations and ``model.safetensors`` in the official layout.

    An older checkpoint there is replaced.

    Args:
        model: to write.
        folder: where to.
        tokenizer: a ``tokenizer.json`` to copy beside the text encoder's configuration.
        half: store the parameters as float16, as ``save_checkpoint`` does.
        words: a ``words.txt`` to copy beside the tokenizer.

    Raises:
        CheckpointError: ``folder`` holds anything else, or cannot be written.
    """
    encoders = {
        model.config.audio_model.name: model.mulan.audio.model.config,
        model.config.text_model.name: model.mulan.text.model.config,
    }
    check_encoder_names(encoders, folder)
    first_parts = {Path(name).parts[0] for name in encoders}
    check_replaceable(folder, {CONFIG_FILE, WEIGHTS_FILE, *first_parts})
    with atomic_folder(folder) as temporary:
        save_config(model.config, temporary / CONFIG_FILE)
        for name, config in encoders.items():
            (temporary / name).mkdir(parents=True)
            save_config(config, temporary / name / CONFIG_FILE)
        for source, name in ((tokenizer, TOKENIZER_FILE), (words, WORDS_FILE)):
            if source is not None:
                shutil.copyfile(source, temporary / model.config.text_model.name / name)
        save_tensors(stored_state(model, half), temporary / WEIGHTS_FILE)


def check_encoder_names(names: Iterable[str], folder: Path) -> None:
    """Raise CheckpointError unless encoders of these names have their places in the folder."""
    for name in names:
        parts = Path(name).parts
        is_plain = parts and not Path(name).is_absolute() and ".." not in parts
        if not is_plain or parts[0] in (CONFIG_FILE, WEIGHTS_FILE):
            raise CheckpointError(
                f"encoder {name!r}: its configuration would not be written into {folder}; "
                "give it a hub id or a plain name."
            )


def encoder_folder(folder: Path, name: str, hub: HubOptions = USUAL) -> Path:
    """Where an encoder's ``config.json`` is: below the checkpoint, in a folder, or on the hub."""
    for candidate in (folder / name, Path(name)):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    try:
        newest = dataclasses.replace(hub, revision=None)  # the one given is the checkpoint's
        return download(name, [CONFIG_FILE, TOKENIZER_FILE], newest)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: it stands on {name}, whose {CONFIG_FILE} is needed in {folder / name}. "
            f"{error}"
        ) from None
