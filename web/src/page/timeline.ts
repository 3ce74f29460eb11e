/** Every tag's probability over time. */

import type { Update } from "../types.ts";

/** A stretch of sound, with a score for every tag; `TrackTags.windows` are such. */
export interface Stretch {
  start_seconds: number;
  end_seconds: number;
  scores: ArrayLike<number>;
  silent: boolean;
}

const MOST_STRETCHES = 4096; // half an hour of hops

/**
 * The stretches of a stream: each hop stands for what is nearer to its middle than to another's. Of a
 * long stream, neighbours are joined: the older the coarser.
 */
export class StreamTimeline {
  stretches: Stretch[] = [];
  private middle = 0;

  add({ hop, scores }: Update): void {
    const middle = (hop.start_seconds + hop.end_seconds) / 2;
    const previous = this.stretches.at(-1);
    const start = previous ? (this.middle + middle) / 2 : 0;
    if (previous) previous.end_seconds = start;
    const { end_seconds, silent } = hop;
    this.stretches.push({ start_seconds: start, end_seconds, scores, silent });
    this.middle = middle;
    if (this.stretches.length > MOST_STRETCHES) this.stretches = joinedInPairs(this.stretches);
  }
}

function joinedInPairs(stretches: Stretch[]): Stretch[] {
  return stretches.flatMap((first, i) => {
    if (i % 2) return [];
    const second = stretches[i + 1];
    return second ? [joined(first, second)] : [first];
  });
}

/** Two neighbours as one, with the mean of their scores over time. */
function joined(first: Stretch, second: Stretch): Stretch {
  const { start_seconds } = first;
  const { end_seconds } = second;
  const share = (second.start_seconds - start_seconds) / (end_seconds - start_seconds);
  const scores = Float32Array.from(
    first.scores,
    (score, i) => share * score + (1 - share) * (second.scores[i] ?? 0),
  );
  return { start_seconds, end_seconds, scores, silent: first.silent && second.silent };
}

/** The stretch that a moment lies in; the last one for the end. */
export function stretchAt(stretches: readonly Stretch[], seconds: number): Stretch | undefined {
  let low = 0;
  let high = stretches.length - 1;
  while (low < high) {
    const between = (low + high) >> 1;
    if ((stretches[between]?.end_seconds ?? 0) > seconds) high = between;
    else low = between + 1;
  }
  return stretches[low];
}
