"""Tasks: who takes part, which labels there are, and what the right answers look like."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muqrt.errors import AudioError, UsageError
from muqrt.training.data.manifest import Recording
from muqrt.training.probe.tasks import STEP_SECONDS, TASKS, UNKNOWN, find_task


def recording(**labels: Any) -> Recording:
    return Recording(audio=Path("a.wav"), **labels)


def test_the_nine_tasks_of_the_paper() -> None:
    assert set(TASKS) == {
        *("genre", "key", "emotion", "singer", "technique", "tagging", "structure"),
        *("instrument", "pitch"),
    }
    fields = {field for task in TASKS.values() for field in task.fields}
    assert fields <= set(Recording.model_fields)


def test_who_takes_part() -> None:
    emotion = find_task("emotion")
    assert emotion.takes(recording(valence=0.0, arousal=0.0))
    assert not emotion.takes(recording(valence=0.0))
    assert find_task("tagging").takes(recording(tags=()))


def test_labels_are_sorted_and_pitches_by_number() -> None:
    rows = [recording(pitch=p, tags=t) for p, t in ((100, ("b", "a")), (9, ("c",)), (60, ()))]
    assert find_task("pitch").labels_of(rows) == ["9", "60", "100"]
    assert find_task("tagging").labels_of(rows) == ["a", "b", "c"]
    assert find_task("emotion").labels_of(rows) == ["valence", "arousal"]


def test_a_key_has_24_labels_however_it_is_spelled() -> None:
    key = find_task("key")
    labels = key.labels_of([])
    assert len(set(labels)) == 24
    for spelled, same in (("Db minor", "C# minor"), ("A# major", "Bb major"), ("E minor",) * 2):
        (target,) = key.targets(recording(key=spelled), labels, 1)
        assert labels[target] == same
    for tonic in "CDEFGAB":
        for accidental in ("", "#", "b"):
            assert key.answers(recording(key=f"{tonic}{accidental} major"))[0] in labels


@pytest.mark.parametrize("wrong", ["C", "H major", "c major", "C Major", "C major "])
def test_what_is_no_key_is_an_error(wrong: str) -> None:
    with pytest.raises(AudioError, match=r"a\.wav: key .*write it as 'C major'"):
        find_task("key").answers(recording(key=wrong))


def test_targets_of_a_class() -> None:
    genre = find_task("genre")
    assert genre.targets(recording(genre="b"), ["a", "b"], 3).tolist() == [1, 1, 1]
    assert genre.targets(recording(genre="new"), ["a", "b"], 1).tolist() == [UNKNOWN]
    assert genre.targets(recording(genre="b"), ["a", "b"], 3).dtype == np.int64


def test_targets_of_tags_and_numbers() -> None:
    tags = find_task("tagging").targets(recording(tags=("c", "a", "new")), ["a", "b", "c"], 2)
    assert tags.tolist() == [[1, 0, 1], [1, 0, 1]]
    numbers = find_task("emotion").targets(recording(valence=0.25, arousal=-1), [], 2)
    assert numbers.tolist() == [[0.25, -1], [0.25, -1]]
    assert tags.dtype == numbers.dtype == np.float32


def test_a_step_has_the_section_of_its_middle() -> None:
    sections = ((0.0, 1.2, "a"), (1.2, 2.0, "b"), (2.5, 9.0, "new"))
    targets = find_task("structure").targets(recording(sections=sections), ["a", "b"], 8)
    expected = []
    for step in range(8):
        middle = (step + 0.5) * STEP_SECONDS
        inside = [label for start, end, label in sections if start <= middle < end]
        expected.append({"a": 0, "b": 1}.get("".join(inside), UNKNOWN))
    assert targets.tolist() == expected == [0, 0, 1, 1, -1, -1, -1, -1]


def test_an_unknown_task_lists_the_others() -> None:
    with pytest.raises(UsageError, match="genre, key"):
        find_task("karaoke")


def test_a_tag_that_is_not_known_is_nan() -> None:
    tagging = find_task("tagging")
    row = recording(tags=("a",), tags_unknown=("c", "never heard of"))
    found = tagging.targets(row, ["a", "b", "c"], 2)
    np.testing.assert_array_equal(found, np.array([[1, 0, np.nan]] * 2, np.float32))
