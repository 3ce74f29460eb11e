"""The errors a user can meet: each says what was wrong with what, and how to fix it."""


class MuqrtError(Exception):
    """Base of every error that is the user's to fix; printed without a traceback.

    ``exit_code`` is what the command line returns for it.
    """

    exit_code = 3


class AudioError(MuqrtError):
    """The audio cannot be used: missing, not audio, truncated, too short, not finite."""


class CheckpointError(MuqrtError):
    """The checkpoint cannot be loaded: missing keys, wrong shapes, an unsupported configuration."""


class BundleError(MuqrtError):
    """The bundle cannot be trusted: a changed byte, a path outside it, an unknown version."""


class SessionError(MuqrtError):
    """An engine refused its input or could not be started."""


class ServerError(MuqrtError):
    """The inference server could not be started or reached, or refused a request."""


class HubError(MuqrtError):
    """The Hugging Face hub could not be reached, or refused a request."""


class StorageError(MuqrtError):
    """A storage could not be read or written, however often it was tried."""


class KernelError(MuqrtError):
    """A fused kernel cannot be compiled for a GPU, or only badly."""


class BuildError(MuqrtError):
    """An engine cannot be built from a graph."""


class MissingDependencyError(MuqrtError):
    """A feature needs an optional extra that is not installed."""


class UsageError(MuqrtError):
    """The command was asked for something that makes no sense."""

    exit_code = 2


class TrainingPausedError(MuqrtError):
    """A training saved its state and ended before its last step, as it was asked to.

    Args:
        message: where it stands.
        exit_code: 0 where ``--until-step`` ended it, 128 and the signal's number otherwise.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ParityError(MuqrtError):
    """An artefact's numbers are not the reference's."""

    exit_code = 1
