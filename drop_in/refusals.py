"""What only the official package can do."""

from typing import NoReturn

from ..errors import UsageError


def refuse(what: str) -> NoReturn:
    """Raise UsageError for what needs the weights themselves."""
    raise UsageError(
        f"{what}: muqrt.drop_in answers from a bundle, without gradients. Train with muqrt train, "
        "or with the official package: pip install muq."
    )


class Inside:
    """What stands where the official class has its modules: asking for one is refused.

    Args:
        name: what errors call it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"{self._name}.{name}")
