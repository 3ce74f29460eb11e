/** The tags of a whole track, from those of its windows, as `runtime/bundle/tagging.py` has them. */

import type { Segment, TagScore, TrackTags, TrackWindowTags } from "../types.ts";
import type { Tagging } from "./site.ts";

/** Tag names and their scores, those of the highest score first, equal ones in order. */
export function ranking(tagging: Tagging, scores: Float32Array): [string, number][] {
  const named = tagging.vocabulary.map((tag, i): [string, number] => [tag, scores[i]!]);
  return named.sort(([, a], [, b]) => b - a);
}

/** Which tags count: those that reach their limits, of a group only the most probable one. */
export function present(
  { vocabulary, thresholds, groups }: Pick<Tagging, "vocabulary" | "thresholds" | "groups">,
  scores: ArrayLike<number>,
  limits: readonly number[] = thresholds,
): boolean[] {
  const found = limits.map((limit, column) => scores[column]! >= limit);
  for (const group of groups) {
    const columns = group.map((tag) => vocabulary.indexOf(tag));
    const best = columns.reduce((most, each) => (scores[each]! > scores[most]! ? each : most));
    for (const each of columns) if (each !== best) found[each] = false;
  }
  return found;
}

/** The tags that count, best first. */
export function reached(tagging: Tagging, scores: Float32Array): Record<string, number> {
  const counting = present(tagging, scores);
  const names = new Set(tagging.vocabulary.filter((_, column) => counting[column]));
  return Object.fromEntries(ranking(tagging, scores).filter(([tag]) => names.has(tag)));
}

/** Whether no tag counts though there is sound, and the tag that then comes nearest to its threshold. */
export function doubt(
  { vocabulary, thresholds }: Tagging,
  scores: Float32Array,
  tags: Record<string, number>,
  silent: boolean,
): { unsure: boolean; guess: TagScore | null } {
  if (silent || Object.keys(tags).length > 0) return { unsure: false, guess: null };
  const margins = thresholds.map((limit, column) => scores[column]! - limit);
  const nearest = margins.reduce((most, each, i) => (each > margins[most]! ? i : most), 0);
  return { unsure: true, guess: { tag: vocabulary[nearest]!, score: scores[nearest]! } };
}

/** @param whole the scores of the whole track; the windows' mean when left out. */
export function trackTags(
  tagging: Tagging,
  audio: string,
  windows: TrackWindowTags[],
  whole?: Float32Array,
): TrackTags {
  const sounding = windows.filter((each) => !each.silent);
  const silent = sounding.length === 0;
  const scores = whole ?? meanScores(tagging, sounding);
  const segments = new Map<string, Segment[]>();
  for (const [tag] of ranking(tagging, scores)) {
    const column = tagging.vocabulary.indexOf(tag);
    const found = runs(windows, (each) => !each.silent && present(tagging, each.scores)[column]!);
    if (found.length > 0) segments.set(tag, found);
  }
  const tags = silent ? {} : reached(tagging, scores);
  return {
    audio,
    seconds: windows.at(-1)!.end_seconds,
    tags,
    scores: Object.fromEntries(ranking(tagging, scores)),
    segments: Object.fromEntries(segments),
    ...doubt(tagging, scores, tags, silent),
    silent,
    silences: runs(windows, (each) => each.silent),
    windows,
  };
}

/** The mean of the windows, each weighted by the stretch that it stands for. */
function meanScores(tagging: Tagging, windows: TrackWindowTags[]): Float32Array {
  const weight = (each: TrackWindowTags) => each.end_seconds - each.start_seconds;
  const total = windows.reduce((sum, each) => sum + weight(each), 0);
  return Float32Array.from(tagging.vocabulary, (_, column) =>
    total === 0
      ? 0
      : windows.reduce((sum, each) => sum + weight(each) * each.scores[column]!, 0) / total,
  );
}

/** Stretches of windows that follow one another and are what is asked for. */
function runs(windows: TrackWindowTags[], is: (each: TrackWindowTags) => boolean): Segment[] {
  const found: Segment[] = [];
  let before = false;
  for (const each of windows) {
    const now = is(each);
    if (now && before) found.at(-1)![1] = each.end_seconds;
    else if (now) found.push([each.start_seconds, each.end_seconds]);
    before = now;
  }
  return found;
}
