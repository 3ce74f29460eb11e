"""What ``muqrt search`` shows: the index's state, and what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...common.console import Table, show
from ...runtime.audio.damage import Damages
from ..audio.files import AudioFiles

if TYPE_CHECKING:
    from ...runtime.search.approximate import Approximation
    from ...runtime.search.update import Changes, Outcome


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        matches: files, or a catalogue's keys, and their cosines, best first.
        about: how far an approximate search can be trusted; None for an exact one.
        unlearned: the description's words that the model did not learn; None where it does not say.
    """

    matches: Sequence[tuple[Path | str, float]]
    about: "Approximation | None"
    unlearned: Sequence[str] | None


def add_matches(facts: dict[str, Any], lines: list[str | Table], found: Found) -> None:
    """Report what was found."""
    matches, about = found.matches, found.about
    facts["results"] = [{"audio": str(name), "cosine": cosine} for name, cosine in matches]
    if found.unlearned is not None:
        facts["unlearned_words"] = found.unlearned
    rows = [[name, f"{cosine:.3f}"] for name, cosine in matches]
    lines.append(Table("", ["file", "cosine"], rows) if rows else "Nothing found.")
    if about is not None:
        facts["approximate"] = about.model_dump()
        lines.append(
            f"Approximate: finds {about.recall_at_10:.1%} of the ten nearest, measured with "
            f"{about.queries} of the tracks. --exact compares with all of them."
        )


def report(
    folder: Path,
    given: AudioFiles,
    changes: "Changes",
    outcomes: "Sequence[Outcome]",
    found: Found | None,
    damages: Damages,
    as_json: bool,
) -> None:
    """Show the index's state, and what was found if something was searched for."""
    failures = {name: entry.error for name, entry in changes.known.items() if entry.error}
    new_failures = {name: error for name, error in outcomes if error}
    counts = {
        "files": len(changes.known) + len(outcomes),
        "new": len(outcomes),
        "gone": len(changes.gone),
        "unusable": len(failures) + len(new_failures),
    }
    failed = [
        {"audio": str(folder / name), "error": error}
        for name, error in {**failures, **new_failures}.items()
    ]
    skipped = [str(path) for path in given.skipped]
    facts: dict[str, Any] = {"index": counts, "failed": failed, "skipped": skipped}
    said = [{"audio": name, **damages.facts(name)} for name in damages.names()]
    for key, of in (("damaged", "damage"), ("one_channel", "one_channel_seconds")):
        if some := [facts_of for facts_of in said if of in facts_of]:
            facts[key] = some
    lines: list[str | Table] = [
        f"FAILED {folder / name}: {error}" for name, error in new_failures.items()
    ]
    lines += [line for name in damages.names() for line in damages.lines(name)]
    lines.append(
        f"{folder}: {counts['files']} files, {counts['new']} of them new or changed, "
        f"{counts['gone']} gone, {counts['unusable']} that cannot be used"
    )
    if found is not None:
        add_matches(facts, lines, found)
    show(as_json, facts, *lines)
