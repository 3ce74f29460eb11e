"""Processes of this machine: what they cannot do is said, not tried for ever."""

from pathlib import Path

import pytest
import soundfile

pytest.importorskip("pyarrow")
pytest.importorskip("fsspec")

from muqrt.catalogue.local import LocalWorkers
from muqrt.catalogue.planning import bundle_of, plan_job, recipe_of
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE


def test_a_folder_that_takes_no_notes_ends_the_run(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.1] * 24_000, 24_000)
    recipe = recipe_of(bundle_of(SHIPPED_BUNDLE), ["embedding"])
    job = plan_job(tmp_path / "job", SHIPPED_BUNDLE, recipe, [str(tmp_path / "a.wav")])
    (tmp_path / "job" / "notes").write_text("")  # where a folder has to be made
    with LocalWorkers(job, 1, threads=1) as workers:
        summary = workers.run(job.remaining())
    assert (summary.left, summary.deaths) == (1, 0)
    assert "NotADirectoryError" in str(summary.errors[0])
