"""Write the models that serve a MuQ-MuLan.

    mulan_audio       waveform -> latents of a clip
    mulan_text_tower  tokens -> latents
    mulan_text        text -> latents, through mulan_text_tower
    zeroshot          waveform, labels -> scores, through mulan_audio and mulan_text_tower

The last two are in Python and call the towers inside the server instead of having engines of their
own: so the towers are in memory once, run on a GPU if there is one, and batch all requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...common.files import sha256
from ...common.words import WORDS_FILE, LearnedWords
from ...errors import BundleError
from ...runtime.bundle.joint import LATENTS, TOKENIZER_FILE, Joint
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.text.tokenizer import TextTokenizer
from ..contract.mulan import (
    AUDIO_TOWER,
    LABEL_SETS,
    MOST_TEXTS,
    TEXT_TOWER,
    WORDS,
    TextConfig,
    Tower,
    ZeroShotConfig,
    tower_in,
)
from ..contract.options import ServingOptions
from .layout import contract_of, joint_layout
from .write import RepositoryReport, write_model, write_repository


@dataclass(frozen=True)
class JointNames:
    """Names of the four models."""

    audio: str = "mulan_audio"
    text_tower: str = "mulan_text_tower"
    text: str = "mulan_text"
    zero_shot: str = "zeroshot"

    @classmethod
    def beside(cls, model: str) -> "JointNames":
        """The names beside a model of this name, with it as prefix unless it is ``muq``."""
        usual = cls()
        if model == "muq":
            return usual
        return cls(*(f"{model}_{name}" for name in vars(usual).values()))


def write_joint_repository(
    bundle: Bundle,
    output: Path,
    artefact_name: str | None = None,
    text_artefact_name: str | None = None,
    *,
    allow_uncertified: bool = False,
    names: JointNames | None = None,
    options: ServingOptions | None = None,
    label_sets: Path | None = None,
) -> list[RepositoryReport]:
    """Write the four models into ``output``, each whole or not at all.

    Args:
        artefact_name: artefact of the audio tower; the first certified one when None.
        text_artefact_name: artefact of the text tower; the first certified one when None.
        allow_uncertified: serve artefacts that have no passing certificate.
        names: names of the models; the default ones when None.
        options: how the towers are served; the text tower ignores options for audio. The
            defaults when None.
        label_sets: folder of the label sets; a folder in ``zeroshot`` when None.

    Raises:
        BundleError: the bundle has no text tower, the artefact gives no latents, or what
            ``write_repository`` raises. UsageError: what ``write_repository`` raises.
    """
    audio_artefact = bundle.artefact(artefact_name, allow_uncertified=allow_uncertified)
    text_artefact = bundle.artefact(
        text_artefact_name, allow_uncertified=allow_uncertified, tower="text"
    )
    if not gives_latents(audio_artefact):
        raise BundleError(
            f"{bundle.folder}: artefact {audio_artefact.name!r} gives no latents; choose another."
        )
    names, options = names or JointNames(), options or ServingOptions()
    reports = []
    for artefact, name, chosen in (
        (audio_artefact, names.audio, replace(options, outputs=(LATENTS,), lengths_seconds=())),
        (text_artefact, names.text_tower, _for_texts(options, text_artefact)),
    ):
        report = write_repository(
            bundle,
            output,
            artefact.name,
            allow_uncertified=allow_uncertified,
            model_name=name,
            options=chosen,
            tower=artefact.tower,
        )
        reports.append(report)
    audio = _tower(bundle, audio_artefact, names.audio, options.max_batch_size)
    text = _tower(bundle, text_artefact, names.text_tower, MOST_TEXTS)
    folder = None if label_sets is None else str(label_sets.resolve())
    rest = options.limits, bundle.files.get(WORDS_FILE)
    for artefact, config in (
        (text_artefact, TextConfig(names.text, text, *rest)),
        (audio_artefact, ZeroShotConfig(names.zero_shot, audio, text, folder, *rest)),
    ):
        reports.append(write_model(bundle, joint_layout(bundle, artefact), config, output))
    return reports


def gives_latents(artefact: Artefact) -> bool:
    """Whether the artefact gives latents; those of some engines do not."""
    return any(spec.name == LATENTS for spec in artefact.outputs)


def joint_config(
    bundle: Bundle, artefact: Artefact, name: str, parameters: Mapping[str, str]
) -> TextConfig | ZeroShotConfig:
    """The configuration of ``mulan_text`` or ``zeroshot`` with the towers in these parameters."""
    try:
        found = {
            each: tower_in(parameters, each)
            for each in (TEXT_TOWER, AUDIO_TOWER)
            if each == TEXT_TOWER or artefact.tower is None
        }
    except (KeyError, ValueError) as error:
        raise BundleError(
            f"its towers cannot be read ({error}); write it again with: muqrt repository"
        ) from error
    towers = {each: _as_bundled(bundle, tower) for each, tower in found.items()}
    words_sha256 = bundle.files.get(WORDS_FILE)
    if artefact.tower == "text":
        return TextConfig(name, towers[TEXT_TOWER], words_sha256=words_sha256)
    sets = parameters.get(LABEL_SETS)
    both = towers[AUDIO_TOWER], towers[TEXT_TOWER]
    return ZeroShotConfig(name, *both, sets, words_sha256=words_sha256)


def load_tokenizer(folder: Path, joint: Joint) -> TextTokenizer:
    """Load the tokenizer in a version's folder."""
    path = _unchanged(folder / TOKENIZER_FILE, joint.tokenizer_sha256)
    return TextTokenizer(path, joint.max_tokens)


def load_words(folder: Path, parameters: Mapping[str, str]) -> LearnedWords | None:
    """Load the words in a version's folder; None where the parameters name no such file."""
    if WORDS not in parameters:
        return None
    return LearnedWords.read(_unchanged(folder / WORDS_FILE, parameters[WORDS]))


def _unchanged(path: Path, expected_sha256: str) -> Path:
    if not path.is_file() or sha256(path) != expected_sha256:
        raise BundleError(
            f"{path} is missing or has changed; write the model again with: muqrt repository"
        )
    return path


def _for_texts(options: ServingOptions, artefact: Artefact) -> ServingOptions:
    """The options for the text tower, without those for audio."""
    return replace(
        options,
        outputs=(),
        max_batch_size=MOST_TEXTS,
        preferred_batch_sizes=(),
        lengths_seconds=(),
        gpus=() if artefact.target == "cpu" else options.gpus,
        response_cache=False,
        fixed_length=False,
        cuda_graphs=False,
    )


def _tower(bundle: Bundle, artefact: Artefact, model: str, max_batch_size: int) -> Tower:
    return Tower(model, max_batch_size, contract_of(bundle, artefact, (LATENTS,)))


def _as_bundled(bundle: Bundle, tower: Tower) -> Tower:
    """The same tower with the contract that the bundle gives."""
    digest = tower.contract.artefact_sha256
    for artefact in bundle.artefacts:
        if artefact.digest == digest and gives_latents(artefact):
            return _tower(bundle, artefact, tower.model, tower.max_batch_size)
    raise BundleError(
        f"{tower.model}'s artefact is not of this bundle; write it again with: muqrt repository"
    )
