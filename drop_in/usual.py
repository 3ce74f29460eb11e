"""What ``from_pretrained`` takes where a script says nothing."""

from dataclasses import dataclass


@dataclass
class Usual:
    """Set by ``install``.

    Attributes:
        artefact: the name of the artefact that answers in float32; the best when None.
    """

    artefact: str | None = None


USUAL = Usual()
