"""What the hub's client raises, as one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from ...common.files import DISK_FULL
from ...errors import HubError
from .address import HubAddress

LOG_IN = "log in with: hf auth login, or set HF_TOKEN"


def network_errors() -> tuple[type[Exception], ...]:
    """All that the client raises where the hub does not answer as it should, whichever library it
    speaks HTTP with."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *(each for each in HfHubHTTPError.__bases__ if issubclass(each, Exception)))


def is_unreachable(error: Exception) -> bool:
    """Whether the hub could not be asked: no network, or its servers are at fault."""
    from huggingface_hub import errors

    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    return not isinstance(error, (errors.LocalTokenNotFoundError, errors.EntryNotFoundError))


@contextmanager
def explained(address: HubAddress) -> Iterator[None]:
    """Turn the client's errors within the block into one line each.

    Raises:
        HubError: the line. OSError: a full disk, or a local file that cannot be read.
    """
    try:
        yield
    except network_errors() as error:
        if isinstance(error, OSError) and (error.errno in DISK_FULL or error.filename):
            raise
        raise HubError(f"{address}: {_line(error, address)}") from None
    except RuntimeError as error:  # the client's own around what an upload failed of
        if not isinstance(error.__cause__, network_errors()):
            raise
        raise HubError(f"{address}: {_line(error.__cause__, address)}") from None
    except ValueError as error:
        raise HubError(f"{address}: the hub refused it ({_first_line(error)}).") from None


def _line(error: Exception, address: HubAddress) -> str:
    from huggingface_hub import errors

    status = _status(error)
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"you are not logged in to the hub: {LOG_IN}."
    if isinstance(error, errors.GatedRepoError):
        return f"access is gated: accept its terms on the hub's site, and {LOG_IN}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "no such repository, or a private one that you may not see: check the name, and "
            f"{LOG_IN}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no revision {address.revision or 'main'}."
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "it was not fetched yet, and the hub is not asked: run it once with a network."
    if status == 401:
        return f"the hub does not accept the token: {LOG_IN}."
    if status == 403:
        return (
            "you have no right to write there: use a repository of your own or of an organisation "
            "that you are in, and a token with the role 'write'."
        )
    if status in (409, 412):
        return "somebody else changed the repository meanwhile: run it again."
    if status is not None and not is_unreachable(error):
        return f"the hub refused it ({_first_line(error)})."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "this has to ask the hub, and HF_HUB_OFFLINE is set: unset it."
    return f"the hub cannot be reached ({_first_line(error)}). Check the network and HF_ENDPOINT."


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
