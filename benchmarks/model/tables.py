"""A benchmark's tables, for the terminal and for Markdown, and what they do not say."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..measure.contenders import COMPILED, COMPILED_BF16
from ..measure.latency import Latency
from .arithmetic import Arithmetic
from .cold_start import STARTS, WINDOW_SECONDS, ColdStart
from .hops import HopTime
from .library import LibraryTime
from .operators import OTHER, PARTS, OperatorTime

if TYPE_CHECKING:
    from .results import ModelReport

_LATENCY_COLUMNS = (
    *("contender", "threads", "s x batch", "median, s", "p10 to p90, s", "times eager"),
    *("audio s / s", "relative L2", "worst cosine", "rounds"),
)
_COLD_START_COLUMNS = (
    *("contender", "cold start, s", "of it loading, s", "first answer, s"),
    *("peak memory, MB", "files, MB"),
)
_RATE_COLUMNS = ("contender", "s x batch", "seconds", "GFLOP/s", "share of its precision's peak")
_LIBRARY_COLUMNS = ("contender", "songs an hour", "times eager", "seconds a song", "worst cosine")
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
    f"those of *{OTHER}* are ONNX Runtime's own, or an output's."
)
_RATES_NOTE = (
    "Two operations for each multiply-add of the model as it is written. More than 100 % is no "
    "mistake: a convolution in Winograd form needs fewer than are counted."
)
# Of the cores' time, taken by other programs.
_QUIET_SHARE = 0.05
_OPERATORS_SHOWN = 12
_ROUNDS_FOR_P99 = 100


class Table(NamedTuple):
    """Finished cells."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]]


def sections(report: "ModelReport") -> list[tuple[Table, str]]:
    """Every table with how to read it: latency first, cold start, and whatever else there is."""
    uncertified = {each["name"] for each in report.artefacts if not each["certified"]}
    marks = {name: f"{name} (NOT CERTIFIED)" for name in uncertified}
    latency = Table(
        f"Latency on {report.device}",
        _LATENCY_COLUMNS,
        [_latency_row(each, marks) for each in report.latencies],
    )
    # Of fewer it would be the longest.
    if any(len(each.samples_seconds) >= _ROUNDS_FOR_P99 for each in report.latencies):
        p99 = [f"{each.p99_seconds:.3g}" for each in report.latencies]
        latency = _with_column(latency, "p99, s", p99)
    if report.price is not None:
        # An hour of the device buys so many hours of audio, for each unit of its price.
        hours = [f"{x.audio_seconds_per_second / report.price:,.0f}" for x in report.latencies]
        latency = _with_column(latency, f"audio h for 1, at {report.price:g} an hour", hours)
    cold_start = Table(
        f"From process start to the first answer, {WINDOW_SECONDS:g} s of audio",
        _COLD_START_COLUMNS,
        [_cold_start_row(each, marks, report.size_bytes) for each in report.cold_starts],
    )
    held = [each.device_bytes for each in report.cold_starts]
    if any(held):
        cells = [f"{(each or 0) / 1e6:.0f}" for each in held]
        cold_start = _with_column(cold_start, "device memory, MB", cells)
    found = [(latency, _LATENCY_NOTE), (cold_start, _COLD_START_NOTE)]
    if report.hops:
        rows = [_hop_row(each, marks) for each in report.hops]
        found.append((Table("A live stream", _HOP_COLUMNS, rows), _HOPS_NOTE))
    if report.library:
        rows = [_library_row(each, marks) for each in report.library]
        found.append((Table("A library, decoding included", _LIBRARY_COLUMNS, rows), _LIBRARY_NOTE))
    if report.operators:
        by_part, by_operator = _operator_tables(report.operators, report.arithmetic)
        found += [(by_part, _OPERATORS_NOTE), (by_operator, "")]
    if report.arithmetic is not None:
        rates, peaks = _arithmetic_tables(report.arithmetic)
        found += [(rates, _RATES_NOTE), (peaks, "")]
    return found


def remarks(report: "ModelReport") -> list[str]:
    """What the latency table does not say, one sentence each."""
    notes = [f"{name}: not available: {reason}" for name, reason in report.unavailable.items()]
    for name in (COMPILED, COMPILED_BF16):
        seconds = [e.first_call_seconds for e in report.latencies if e.contender == name]
        if seconds:
            span = f"{min(seconds):.0f} to {max(seconds):.0f} s"
            notes.append(f"{name}: compiling took {span} for each input, not included.")
    shares = sorted(each.neighbours_share for each in report.latencies)
    busy = f"Other programs took {shares[0]:.0%} to {shares[-1]:.0%} of the cores' time meanwhile"
    # Measured: a neighbour slows PyTorch's thread pool down far more than ONNX Runtime's.
    unfair = ", which hits the contenders unequally: measure again on a quiet machine."
    notes.append(busy + (unfair if shares[-1] > _QUIET_SHARE else "."))
    if any(not each.matches for each in report.latencies):
        notes.append("* this contender's answer is NOT the reference's within its precision.")
    return notes


def _latency_row(each: Latency, marks: dict[str, str]) -> list[str]:
    return [
        marks.get(each.contender, each.contender) + ("" if each.matches else " *"),
        str(each.threads),
        f"{each.window_seconds:g} x {each.batch}",
        f"{each.median_seconds:.3g}",
        f"{each.p10_seconds:.3g} to {each.p90_seconds:.3g}",
        f"{each.speedup:.2f}",
        f"{each.audio_seconds_per_second:.1f}",
        f"{each.relative_l2:.1e}",
        f"{each.worst_frame_cosine:.6f}",
        str(len(each.samples_seconds)),
    ]


def _with_column(table: Table, name: str, cells: list[str]) -> Table:
    rows = [[*row, cell] for row, cell in zip(table.rows, cells, strict=True)]
    return Table(table.title, (*table.columns, name), rows)


def _cold_start_row(
    each: ColdStart, marks: dict[str, str], size_bytes: dict[str, int]
) -> list[str]:
    return [
        marks.get(each.contender, each.contender),
        f"{each.cold_start_seconds:.2f}",
        f"{each.load_seconds:.2f}",
        f"{each.first_answer_seconds:.2f}",
        f"{each.peak_rss_bytes / 1e6:.0f}",
        f"{size_bytes[each.contender] / 1e6:.0f}",
    ]


def _hop_row(each: HopTime, marks: dict[str, str]) -> list[str]:
    return [
        marks.get(each.contender, each.contender) + ("" if each.agreement.matches else " *"),
        str(each.threads),
        f"{each.median_seconds:.3g}",
        f"{each.p10_seconds:.3g} to {each.p90_seconds:.3g}",
        f"{each.speedup:.2f}",
        f"{each.real_time_factor:.3f}",
        f"{each.streams_per_core:.2f}",
        f"{each.agreement.relative_l2:.1e}",
        f"{each.agreement.worst_frame_cosine:.6f}",
        str(len(each.samples_seconds)),
    ]


def _library_row(each: LibraryTime, marks: dict[str, str]) -> list[str]:
    return [
        marks.get(each.contender, each.contender),
        f"{each.songs_per_hour:.0f}",
        f"{each.speedup:.2f}",
        f"{min(each.songs_seconds):.3g} to {max(each.songs_seconds):.3g}",
        f"{each.worst_cosine:.5f}",
    ]


def _operator_tables(times: list[OperatorTime], arithmetic: Arithmetic | None) -> list[Table]:
    """Milliseconds of a run, and share, by part and by operator: an artefact in each column."""
    work = arithmetic.multiply_adds if arithmetic is not None else {}
    by_part = _milliseconds(times, lambda each: each.part, PARTS)
    for row in by_part:
        row.insert(1, f"{work[row[0]] / 1e9:.3g}" if row[0] in work else "")
    by_operator = _milliseconds(times, lambda each: each.operator)[:_OPERATORS_SHOWN]
    names = list(dict.fromkeys(each.artefact for each in times))
    columns = [f"{name}, ms" for name in names]
    return [
        Table("Where the time goes, by part", ["part", "GMAC", *columns], by_part),
        Table("Where the time goes, by operator", ["operator", *columns], by_operator),
    ]


def _milliseconds(
    times: list[OperatorTime], key: Callable[[OperatorTime], str], order: Sequence[str] = ()
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


def _part_of_whole(seconds: float, whole: float) -> str:
    return f"{seconds * 1e3:.1f} ({seconds / whole:.0%})"


def _arithmetic_tables(arithmetic: Arithmetic) -> list[Table]:
    peaks = [
        [name, f"{rate / 1e9:.0f}"] for name, rate in arithmetic.peaks_flops_per_second.items()
    ]
    rates = [
        [
            each.contender,
            f"{each.window_seconds:g} x {each.batch}",
            f"{each.seconds:.3g}",
            f"{each.flops_per_second / 1e9:.0f}",
            "" if each.share_of_peak is None else f"{each.share_of_peak:.0%}",
        ]
        for each in arithmetic.rates
    ]
    gmacs = sum(arithmetic.multiply_adds.values()) / 1e9
    cell = f"{arithmetic.window_seconds:g} s x {arithmetic.batch}"
    threads = f"threads: {arithmetic.threads}"
    return [
        Table(f"{gmacs:.3g} GMAC for {cell}, {threads}", _RATE_COLUMNS, rates),
        Table(f"What this machine computes at best, {threads}", ("", "GFLOP/s"), peaks),
    ]
