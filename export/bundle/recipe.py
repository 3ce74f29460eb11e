"""Add an artefact to a bundle: a recipe writes it, ``add`` proves it and moves it in place."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from ...common.files import partial_folder
from ...common.interrupts import uninterrupted
from ...errors import BundleError, UsageError
from ...runtime.bundle.certificate import Precision
from ...runtime.bundle.manifest import Artefact, Bundle
from ...runtime.parity.here import runs_here
from ...runtime.parity.prove import prove
from ...runtime.parity.stored import Answers
from ..parity.gate import parity, refuse_uncertified
from ..parity.proof import Proof
from .candidate import share
from .newest import newest


class Recipe(Protocol):
    """Writes an artefact's files.

    Attributes:
        may_stay_unproven: whether an artefact that this machine cannot run is added without a
            certificate: engines for other machines can be built from it, or it is one.
    """

    may_stay_unproven: ClassVar[bool] = False

    def write(self, bundle: Bundle, folder: Path, proof: Proof) -> Bundle:
        """Write the artefact's files.

        Args:
            bundle: which is to have the artefact; it must not be changed.
            folder: an empty one inside the bundle's, which is removed afterwards.
            proof: what the bundle was made from, and the music to measure on.

        Returns:
            A bundle in ``folder``, or in one inside it, with the artefact alone. A recipe that has
            measured what it wrote leaves the certificate there, and ``add`` measures no more.
        """


@dataclass(frozen=True)
class PrecisionRecipe(Recipe):
    """A recipe for an artefact in one of several precisions.

    Attributes:
        precision: the artefact's.
        known: the precisions it can have; another is a UsageError.
        called: what errors call the artefact.
    """

    precision: Precision
    known: ClassVar[Collection[str]]
    called: ClassVar[str]

    def __post_init__(self) -> None:
        if self.precision not in self.known:
            raise UsageError(
                f"precision {self.precision!r}: {self.called} can have {', '.join(self.known)}."
            )


def add(bundle: Bundle, recipe: Recipe, proof: Proof) -> Artefact:
    """Add an artefact to a bundle in its folder if its numbers match the reference.

    An older one of the same name is replaced. Where anything fails or is interrupted, the bundle
    stays as it was. Without music the artefact is added uncertified. Several processes may add to
    one bundle at a time. Without a checkpoint the reference's stored answers are what counts.

    Args:
        bundle: as loaded; the new manifest is saved.
        recipe: what writes the artefact.
        proof: what the bundle was made from, and what parity is measured on.

    Raises:
        CheckpointError: the checkpoint, the head or the RVQ is not what the bundle was made from.
        BundleError: the bundle lacks the artefact that this one is made from, or was exported again
            meanwhile.
        SessionError: this machine cannot run the artefact, so that nothing can be proven here.
        ParityError: the numbers differ from the reference's. UsageError: no checkpoint, for an
        artefact that needs one.
    """
    proof = proof.of(bundle)
    if proof.given is not None:
        proof.require(bundle)
    with partial_folder(bundle.folder / "build") as folder:
        try:
            added = recipe.write(bundle, folder, proof)
            (artefact,) = added.artefacts
            if artefact.certificate is None and _can_be_proven(added, recipe, proof):
                if proof.given is None:
                    prove(added, Answers(bundle), proof.on_step)
                else:
                    parity(added, proof)
        except OSError:
            if not folder.is_dir():
                raise BundleError(
                    f"{bundle.folder}: was replaced meanwhile; build again."
                ) from None
            raise
        if artefact.certificate is not None:
            refuse_uncertified(added)
        with newest(bundle) as current:
            _put(current, added, folder)
        bundle.artefacts = current.artefacts
        return artefact


def _can_be_proven(added: Bundle, recipe: Recipe, proof: Proof) -> bool:
    """Whether there is something to compare the new artefact with, and it runs here."""
    answers = added.answers is not None if proof.given is None else bool(proof.music)
    return answers and not (recipe.may_stay_unproven and not runs_here(added, *added.artefacts))


def _put(bundle: Bundle, added: Bundle, folder: Path) -> None:
    """Move a candidate's files into the bundle, and name it in the manifest.

    The manifest names an older one no more before its files are replaced: a build that is killed
    here leaves a bundle without either.
    """
    (artefact,) = added.artefacts
    before, older = bundle.artefacts, folder / "older"
    older.mkdir()
    kept = [name for name in artefact.files if (bundle.folder / name).exists()]
    share(bundle, kept, older)
    with uninterrupted():
        try:
            bundle.artefacts = [each for each in before if each.name != artefact.name]
            bundle.save(bundle.folder)
            for name in artefact.files:
                _move(name, added.folder, bundle.folder)
            bundle.artefacts = [*bundle.artefacts, artefact]
            bundle.save(bundle.folder)
        except BaseException:
            for name in artefact.files:
                (bundle.folder / name).unlink(missing_ok=True)
                if name in kept:
                    _move(name, older, bundle.folder)
            bundle.artefacts = before
            bundle.save(bundle.folder)
            raise


def _move(name: str, source: Path, target: Path) -> None:
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).replace(target / name)
