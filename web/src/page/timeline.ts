/** Every tag's probability over time. */

import type { TrackTags, Update } from "../types.ts";

/** Stretch i lies between edge i and edge i + 1, in seconds; one row of scores for each. */
export interface Timeline {
  edges: number[];
  scores: ArrayLike<number>[];
}

/** A track's windows. */
export function trackTimeline(track: TrackTags): Timeline {
  const { windows } = track;
  return {
    edges: [0, ...windows.map((each) => each.end_seconds)],
    scores: windows.map((each) => each.scores),
  };
}

/** A stream's hops: each stands for what is nearer to its middle than to any other's. */
export class StreamTimeline implements Timeline {
  readonly edges: number[] = [0];
  readonly scores: Float32Array[] = [];
  private middle: number | null = null;

  add({ hop, scores }: Update): void {
    const middle = (hop.start_seconds + hop.end_seconds) / 2;
    if (this.middle !== null) this.edges[this.edges.length - 1] = (this.middle + middle) / 2;
    this.middle = middle;
    this.edges.push(hop.end_seconds);
    this.scores.push(scores);
  }
}

/** The stretch that a moment lies in; the last one for a moment behind the end. */
export function stretchAt(timeline: Timeline, seconds: number): number {
  let low = 0;
  let high = timeline.scores.length - 1;
  while (low < high) {
    const between = (low + high) >> 1;
    if ((timeline.edges[between + 1] ?? 0) > seconds) high = between;
    else low = between + 1;
  }
  return low;
}
