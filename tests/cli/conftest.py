"""What the tests of commands share with those of the packages that they command."""

from ..benchmarks.conftest import uncertified_bundle
from ..runtime.conftest import without_av
from ..runtime.hub.conftest import hub
from ..training.conftest import chord_corpus, shallow
from ..triton_repo.conftest import bundle, fresh_bundle, plan_bundle

__all__ = [
    "bundle",
    "chord_corpus",
    "fresh_bundle",
    "hub",
    "plan_bundle",
    "shallow",
    "uncertified_bundle",
    "without_av",
]
