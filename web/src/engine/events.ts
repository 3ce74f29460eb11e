/** Tags and silences of a live stream as events, as `runtime/streaming/events.py` tells them. */

import type { EventRecord, Segment, SilenceRecord } from "../types.ts";
import type { Tagging } from "./site.ts";
import { present } from "./track.ts";

// A stream may last for days.
const MOST_SEGMENTS = 10_000;
// A stretch of exactly the minimum counts, whatever the rounding of its seconds.
const ROUNDING_SECONDS = 1e-6;

type AnyEvent = EventRecord | SilenceRecord;

/** A tag or a silence that is present; `announced` once it has lasted for the minimum. */
interface Run {
  startSeconds: number;
  score: number;
  announced: boolean;
}

/**
 * The events of one stream, from its hops in order.
 *
 * A tag begins when its score reaches its threshold, and is over below `release` times that. Each
 * window stands for the stretch of the stream that is nearer to its middle than to any other's.
 */
export class TagEvents {
  /** The tags that are over, in the order in which they ended; the newest 10,000. */
  readonly segments: EventRecord[] = [];
  readonly silences: Segment[] = [];
  private readonly runs = new Map<number, Run>();
  private middleSeconds: number | undefined;
  private waiting: AnyEvent[] = [];

  constructor(
    private readonly tagging: Tagging,
    private readonly minimumSeconds = 1,
    private readonly release = 0.8,
  ) {}

  /** The events that this hop makes known. */
  push(startSeconds: number, endSeconds: number, tags: Float32Array, silent: boolean): AnyEvent[] {
    const middle = (startSeconds + endSeconds) / 2;
    const edge = this.middleSeconds === undefined ? 0 : (this.middleSeconds + middle) / 2;
    this.middleSeconds = middle;
    const { thresholds, vocabulary } = this.tagging;
    const limits = thresholds.map((each, column) =>
      this.runs.has(column) ? each * this.release : each,
    );
    const counting = silent ? vocabulary.map(() => false) : present(this.tagging, tags, limits);
    // Silence is one more column behind the tags'.
    for (const [column, isPresent] of [...counting, silent].entries()) {
      const score = tags[column] ?? 1;
      let run = this.runs.get(column);
      if (isPresent) {
        run ??= { startSeconds: edge, score, announced: false };
        run.score = Math.max(run.score, score);
        this.runs.set(column, run);
        // The window's stretch reaches beyond its middle, wherever it will end.
        this.announce(column, run, middle);
      } else if (run !== undefined) {
        this.end(column, run, edge);
      }
    }
    return this.inOrder();
  }

  /** End the stream; returns the events of what ends with it. */
  finish(endSeconds: number): AnyEvent[] {
    for (const [column, run] of [...this.runs].sort(([a], [b]) => a - b)) {
      this.end(column, run, endSeconds);
    }
    return this.inOrder();
  }

  private announce(column: number, run: Run, untilSeconds: number): void {
    const lasted = untilSeconds - run.startSeconds + ROUNDING_SECONDS;
    if (run.announced || lasted < this.minimumSeconds) return;
    run.announced = true;
    this.waiting.push(this.event(column, run, null));
  }

  private end(column: number, run: Run, edgeSeconds: number): void {
    this.announce(column, run, edgeSeconds);
    this.runs.delete(column);
    if (!run.announced) return;
    const over = this.event(column, run, edgeSeconds);
    this.waiting.push(over);
    if (over.type === "event") {
      this.segments.push(over);
      if (this.segments.length > MOST_SEGMENTS) this.segments.shift();
    } else {
      this.silences.push([run.startSeconds, edgeSeconds]);
      if (this.silences.length > MOST_SEGMENTS) this.silences.shift();
    }
  }

  private event(column: number, run: Run, end_seconds: number | null): AnyEvent {
    const when = { start_seconds: run.startSeconds, end_seconds };
    const tag = this.tagging.vocabulary[column];
    if (tag === undefined) return { type: "silence", ...when };
    return { type: "event", tag, ...when, score: run.score };
  }

  /** What can be said now: nothing earlier may still become known. */
  private inOrder(): AnyEvent[] {
    const unsure = [...this.runs.values()].filter((run) => !run.announced);
    const untilSeconds = Math.min(...unsure.map((run) => run.startSeconds));
    this.waiting.sort((a, b) => timeOf(a) - timeOf(b));
    const sure = this.waiting.filter((each) => timeOf(each) <= untilSeconds);
    this.waiting = this.waiting.slice(sure.length);
    return sure;
  }
}

function timeOf(event: AnyEvent): number {
  return event.end_seconds ?? event.start_seconds;
}
