"""Features from a bundle's mix of levels."""

from collections.abc import Mapping

import numpy as np

from ..bundle.mix import MIX, Mix
from ..engines.session import Arrays, Description, Parts, Session, require_output

_FEATURES = "features"


class MixSession(Session):
    """A session's model, whole or its encoder, with the output ``mix`` as its features.

    The session below is not closed with this one.
    """

    def __init__(self, session: Session) -> None:
        features = session.outputs[MIX].model_copy(update={"name": _FEATURES})
        super().__init__(
            Description(
                [*session.inputs.values()],
                [features],
                session.framing,
                f"{session.artefact_sha256}, mix",
                checkpoint=session.checkpoint,
            )
        )
        self._mixing = session
        if session.parts is not None:
            self.parts = Parts(session.parts.front_end, MixSession(session.parts.encoder))

    @classmethod
    def of(cls, session: Session) -> "MixSession":
        """The mix of a model.

        Raises:
            BundleError: it has none.
        """
        require_output(session, Mix)
        return cls(session)

    def _run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> Arrays:
        return {_FEATURES: self._mixing.run(inputs, [MIX])[MIX]}

    def close(self) -> None:
        """Nothing is its own."""
