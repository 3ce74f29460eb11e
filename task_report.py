"""What ``muqrt embed`` and ``muqrt tokens`` do alike: a result for each file, and a report."""

from collections.abc import Iterable

from .console import progress, show
from .errors import AudioError
from .runtime.outputs import Claim, Task


def run_all(title: str, running: Iterable[Task], total: int, claim: Claim | None) -> list[Task]:
    """Every task, done, with a progress bar; the folder's ``claim`` is noted with the first
    result."""
    done = []
    with progress(title, total) as bar:
        for task in running:
            bar.advance(task.audio.name)
            if claim is not None and not task.error:
                claim.write()
            done.append(task)
    return done


def report(done: list[Task], kept: int, values_as: str, as_json: bool) -> None:
    """Show what became of every file; the values, as ``values_as``, where they went to no file.

    Raises:
        AudioError: a file could not be used.
    """
    documents = [task.document(values_as if as_json else None) for task in done]
    lines = [*(task.line() for task in done), *([f"{kept} already there, kept."] if kept else [])]
    show(as_json, {"results": documents, "kept": kept}, *lines)
    failed = [task for task in done if task.error]
    if failed:
        raise AudioError(f"{len(failed)} of {len(done)} files could not be used (see above).")
