"""A job's partitions on Spark, which schedules them and no more: parts go into the job's folder."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from .job import Job
from .partition import Partition
from .worker import Outcome, Worker

# What ``map_in_pandas``'s function takes and gives, as Spark writes schemas.
PARTITIONS = "name string, manifest string, row_group long, tracks long"
OUTCOMES = "name string, tracks long, failed long, again long, was_done boolean"

# Spark's Python processes are used again, and a model is opened once in each.
_workers: dict[str, Worker] = {}


def map_in_pandas(job: Job, **options: Any) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """The function for ``DataFrame.mapInPandas`` that computes partitions, with rows as in
    ``PARTITIONS``, and tells of each as in ``OUTCOMES``.

    Args:
        job: the job.
        options: the ``Worker``'s; ``threads`` should be Spark's ``spark.task.cpus``.
    """

    def computed(frames: Iterator[Any]) -> Iterator[Any]:
        import pandas

        address = job.folder.address
        if address not in _workers:
            _workers[address] = Worker(job, **options)
        for frame in frames:
            partitions = [Partition(**row) for row in frame.to_dict("records")]
            outcomes = [asdict(_workers[address].run(each)) for each in partitions]
            yield pandas.DataFrame(outcomes)

    return computed


def run_on_spark(session: Any, job: Job, **options: Any) -> list[Outcome]:
    """Compute what a job has not done, one task a partition; Spark starts those anew that die.

    Args:
        session: a SparkSession, on whose machines muqrt is installed.
        job: the job, in a folder that all of them can write to.
        options: as for ``map_in_pandas``.
    """
    remaining = [asdict(each) for each in job.remaining()]
    if not remaining:
        return []
    rows = session.sparkContext.parallelize(remaining, len(remaining))
    frame = session.createDataFrame(rows, PARTITIONS)
    done = frame.mapInPandas(map_in_pandas(job, **options), OUTCOMES).collect()
    return [Outcome(**row.asDict()) for row in done]
