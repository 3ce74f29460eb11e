"""The tables of a model's benchmark, and how to read them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import mean

from ..measure.agreement import Agreement
from ..measure.latency import Latency
from ..measure.parts import OTHER, PARTS
from ..measure.report import Section
from ..roofline.shares import Share
from .arithmetic import Arithmetic
from .cold_start import STARTS, WINDOW_SECONDS, ColdStart
from .hops import HopTime
from .library import LibraryTime
from .operators import OperatorTime

_LATENCY_COLUMNS = (
    *("contender", "threads", "s x batch", "median, s", "p10 to p90, s", "times eager"),
    *("audio s / s", "relative L2", "worst cosine", "rounds"),
)
_COLD_START_COLUMNS = (
    *("contender", "cold start, s", "of it loading, s", "first answer, s"),
    *("peak memory, MB", "files, MB"),
)
_RATE_COLUMNS = ("contender", "s x batch", "seconds", "GFLOP/s", "share of its precision's peak")
_LIBRARY_COLUMNS = (
    *("contender", "songs an hour", "times eager", "seconds for 3 minutes", "worst cosine"),
)
_HOP_COLUMNS = (
    *("contender", "threads", "a hop, s", "p10 to p90, s", "times eager", "real-time factor"),
    *("streams a core", "relative L2", "worst cosine", "hops"),
)
_LATENCY_NOTE = (
    "The contenders took turns in one process, with the same number of threads, on the clips that "
    "come with muqrt, after a first call each whose answer was compared with eager's: the relative "
    "L2 distance, and the smallest cosine of any frame. A turn is two calls, of which the second "
    "is timed. *times eager* is the median over the "
    "rounds of eager's seconds over the contender's."
)
_COLD_START_NOTE = (
    f"Medians of {STARTS} fresh processes each, peak memory (resident) of the largest; a device's "
    "is what it holds after the answer, other programs included. "
    "Loading includes imports and the check of the files' hashes."
)
_LIBRARY_NOTE = (
    "Songs of 3.5 minutes, from MP3 to one embedding each. Eager is the official package's own "
    "loop, librosa and the model, in pieces of 30 s; its README gives the model whole songs. The "
    "artefacts are `muqrt embed`, whose windows overlap, so that the embeddings are not quite the "
    "same."
)
_HOPS_NOTE = (
    "Every 0.5 s the features of the last 10 s. Eager computes the whole window anew; an artefact "
    "is `muqrt stream`'s engine, which runs the front end on what is new and on the window's "
    "edges, and the encoder on the whole window. A turn is two hops, of which the second is "
    "timed. The *real-time factor* is seconds for each second of audio; *streams a core* is how "
    "many streams one core could just keep up with, a window at a time."
)
_OPERATORS_NOTE = (
    "ONNX Runtime's own profile, means over its runs. A part is known by the names of its nodes; "
    f"those of *{OTHER}* are ONNX Runtime's own, or an output's. GFLOP/s are two for each GMAC, "
    "with the share of the highest rate of a product of matrices in the artefact's precision."
)
_RATES_NOTE = (
    "Two operations for each multiply-add of the model as it is written. More than 100 % is no "
    "mistake: a convolution in Winograd form needs fewer than are counted."
)
_SETS_NOTE = (
    "oneDNN's products of matrices, kept to one instruction set and those before it: what a "
    "processor of this speed without the newer sets could do."
)
SHARE_OF_BOUND = "share of the bound"
_BOUND_NOTE = (
    "The *share of the bound* is what `muqrt estimate` counts as the least time, by the published "
    "figures of this GPU, over the median. Where it is over 100 %, fewer operations ran than the "
    "graph has (convolutions by Winograd), or they ran in TF32."
)
_OPERATORS_SHOWN = 12
_ROUNDS_FOR_P99 = 100  # of fewer it would be the longest

Marks = Mapping[str, str]  # names to show in the place of some contenders'


def latency(
    device: str, latencies: Sequence[Latency], marks: Marks, bounds: Sequence[Share] = ()
) -> Section:
    """A row for each contender and input, with the share of the bound where it is known."""
    rows = [
        _timed(
            each,
            each,
            marks,
            [f"{each.window_seconds:g} x {each.batch}"],
            [f"{each.audio_seconds_per_second:.1f}"],
        )
        for each in latencies
    ]
    found = Section(f"Latency on {device}", _LATENCY_COLUMNS, rows, _LATENCY_NOTE)
    if any(len(each.samples_seconds) >= _ROUNDS_FOR_P99 for each in latencies):
        found = found.with_column("p99, s", [f"{each.p99_seconds:.3g}" for each in latencies])
    if not bounds:
        return found
    reached = {(each.contender, each.window_seconds, each.batch): each.share for each in bounds}
    cells = [reached.get((each.contender, each.window_seconds, each.batch)) for each in latencies]
    shares = ["" if each is None else f"{each:.0%}" for each in cells]
    return replace(found.with_column(SHARE_OF_BOUND, shares), note=f"{found.note} {_BOUND_NOTE}")


def cold_start(starts: Sequence[ColdStart], size_bytes: Mapping[str, int], marks: Marks) -> Section:
    """A row for each contender."""
    rows = [
        [
            marks.get(each.contender, each.contender),
            f"{each.cold_start_seconds:.2f}",
            f"{each.load_seconds:.2f}",
            f"{each.first_answer_seconds:.2f}",
            f"{each.peak_rss_bytes / 1e6:.0f}",
            f"{size_bytes[each.contender] / 1e6:.0f}",
        ]
        for each in starts
    ]
    title = f"From process start to the first answer, {WINDOW_SECONDS:g} s of audio"
    found = Section(title, _COLD_START_COLUMNS, rows, _COLD_START_NOTE)
    held = [each.device_bytes or 0 for each in starts]
    if not any(held):
        return found
    return found.with_column("device memory, MB", [f"{each / 1e6:.0f}" for each in held])


def live_stream(hops: Sequence[HopTime], marks: Marks) -> Section:
    """A row for each contender and number of threads."""
    rows = [
        _timed(
            each,
            each.agreement,
            marks,
            [],
            [f"{each.real_time_factor:.3f}", f"{each.streams_per_core:.2f}"],
        )
        for each in hops
    ]
    return Section("A live stream", _HOP_COLUMNS, rows, _HOPS_NOTE)


def library(times: Sequence[LibraryTime], marks: Marks) -> Section:
    """A row for each contender."""
    rows = []
    for each in times:
        name = marks.get(each.contender, each.contender)
        song = f"{mean(each.songs_seconds):.3g}"
        rate, speedup = f"{each.songs_per_hour:.0f}", f"{each.speedup:.2f}"
        rows.append([name, rate, speedup, song, f"{each.worst_cosine:.5f}"])
    return Section("A library, decoding included", _LIBRARY_COLUMNS, rows, _LIBRARY_NOTE)


def operators(
    times: Sequence[OperatorTime], arithmetic: Arithmetic | None, precisions: Mapping[str, str]
) -> list[Section]:
    """Milliseconds of a run, and share, by part and by operator: an artefact in each column; and
    how much of the machine's arithmetic each part reaches.

    Args:
        times: of all artefacts.
        arithmetic: the work of each part, and the machine's rates, where they were measured.
        precisions: of the artefacts, by their names.
    """
    work = arithmetic.multiply_adds if arithmetic is not None else {}
    by_part = _milliseconds(times, lambda each: each.part, PARTS)
    for row in by_part:
        row.insert(1, f"{work[row[0]] / 1e9:.3g}" if row[0] in work else "")
    by_operator = _milliseconds(times, lambda each: each.operator)[:_OPERATORS_SHOWN]
    names = list(dict.fromkeys(each.artefact for each in times))
    columns = [f"{name}, ms" for name in names]
    by_part_columns = ["part", "GMAC", *columns]
    if arithmetic is not None:
        by_part_columns += [f"{name}, GFLOP/s" for name in names]
        for row in by_part:
            row += [_reached(times, row[0], name, arithmetic, precisions[name]) for name in names]
    return [
        Section("Where the time goes, by part", by_part_columns, by_part, _OPERATORS_NOTE),
        Section("Where the time goes, by operator", ["operator", *columns], by_operator),
    ]


def arithmetic(found: Arithmetic) -> list[Section]:
    """The contenders' rates, and the machine's highest."""
    peaks = [[name, f"{rate / 1e9:.0f}"] for name, rate in found.peaks_flops_per_second.items()]
    rates = [
        [
            each.contender,
            f"{each.window_seconds:g} x {each.batch}",
            f"{each.seconds:.3g}",
            f"{each.flops_per_second / 1e9:.0f}",
            "" if each.share_of_peak is None else f"{each.share_of_peak:.0%}",
        ]
        for each in found.rates
    ]
    gmacs = sum(found.multiply_adds.values()) / 1e9
    cell = f"{found.window_seconds:g} s x {found.batch}"
    threads = f"threads: {found.threads}"
    return [
        Section(f"{gmacs:.3g} GMAC for {cell}, {threads}", _RATE_COLUMNS, rates, _RATES_NOTE),
        Section(f"What this machine computes at best, {threads}", ("", "GFLOP/s"), peaks),
        *_instruction_sets(found, threads),
    ]


def _instruction_sets(found: Arithmetic, threads: str) -> list[Section]:
    """The rates of each instruction set, where they were measured: a precision in each column."""
    precisions = list(dict.fromkeys(each.precision for each in found.instruction_sets))
    rates = {
        (each.instruction_set, each.precision): f"{each.flops_per_second / 1e9:.0f}"
        for each in found.instruction_sets
    }
    rows = [
        [name, *(rates.get((name, precision), "") for precision in precisions)]
        for name in dict.fromkeys(each.instruction_set for each in found.instruction_sets)
    ]
    title = f"The same by instruction set, {threads}"
    columns = ["", *(f"{precision}, GFLOP/s" for precision in precisions)]
    return [Section(title, columns, rows, _SETS_NOTE)] if rows else []


def _timed(
    each: Latency | HopTime, near: Agreement, marks: Marks, given: list[str], rates: list[str]
) -> list[str]:
    """A contender's row: what it was given, how fast it is, and how near to the reference."""
    return [
        marks.get(each.contender, each.contender) + ("" if near.matches else " *"),
        str(each.threads),
        *given,
        *each.cells(),
        *rates,
        f"{near.relative_l2:.1e}",
        f"{near.worst_frame_cosine:.6f}",
        str(len(each.samples_seconds)),
    ]


def _milliseconds(
    times: Sequence[OperatorTime], key: Callable[[OperatorTime], str], order: Sequence[str] = ()
) -> list[list[str]]:
    """A row for each key, in the order given or the longest first."""
    totals: dict[str, dict[str, float]] = {}
    whole: dict[str, float] = {}
    for each in times:
        row = totals.setdefault(key(each), {})
        row[each.artefact] = row.get(each.artefact, 0.0) + each.seconds
        whole[each.artefact] = whole.get(each.artefact, 0.0) + each.seconds
    keys = [name for name in order if name in totals]
    keys = keys or sorted(totals, key=lambda name: -max(totals[name].values()))
    return [
        [name, *(_part_of_whole(totals[name].get(a, 0.0), seconds) for a, seconds in whole.items())]
        for name in keys
    ]


def _reached(
    times: Sequence[OperatorTime], part: str, artefact: str, found: Arithmetic, precision: str
) -> str:
    """The rate of one part of one artefact, and its share of the machine's."""
    here = sum(each.seconds for each in times if (each.part, each.artefact) == (part, artefact))
    if part not in found.multiply_adds or not here:
        return ""
    rate, peak = 2 * found.multiply_adds[part] / here, found.peak(precision)
    return f"{rate / 1e9:.0f}" + (f" ({rate / peak:.0%})" if peak is not None else "")


def _part_of_whole(seconds: float, whole: float) -> str:
    return f"{seconds * 1e3:.1f} ({seconds / whole:.0%})"
