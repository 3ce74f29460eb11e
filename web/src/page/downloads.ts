/** Results as files, written as `muqrt tag` and `muqrt stream` write them. */

import { present } from "../index.ts";
import type { StreamRecord, TrackTags } from "../types.ts";
import { button, element } from "./elements.ts";
import type { TagInfo } from "./tagger.ts";
import type { Stretch } from "./timeline.ts";

const COLUMNS = ["audio", "start_seconds", "end_seconds", "tag", "score", "threshold", "silent"];
const FORMULA_STARTS = /^[=+\-@\t\r]/;

/** A button that saves a file; its content is made when it is pressed. */
export function saveButton(text: string, name: string, type: string, content: () => string) {
  return button(text, () => {
    const url = URL.createObjectURL(new Blob([content()], { type }));
    element("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url));
  });
}

/** The document of `muqrt tag --json`. */
export function trackJson(track: TrackTags, info: TagInfo): string {
  const document = {
    task: info.task,
    vocabulary: info.vocabulary,
    thresholds: Object.fromEntries(info.vocabulary.map((tag, i) => [tag, info.thresholds[i]])),
    window_seconds: info.windowSeconds,
    results: [track],
    skipped: [],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** The lines of `muqrt stream --json`. */
export function streamJson(records: StreamRecord[]): string {
  return records.map((record) => `${JSON.stringify(record)}\n`).join("");
}

/** The table of `muqrt tag --csv`: a row for each tag that counts in each stretch. */
export function csv(audio: string, stretches: readonly Stretch[], info: TagInfo): string {
  const rows: (string | number)[][] = [[...COLUMNS]];
  for (const { start_seconds, end_seconds, scores, silent } of stretches) {
    const where = [cell(audio), start_seconds.toFixed(3), end_seconds.toFixed(3)];
    if (silent) rows.push([...where, "", "", "", 1]);
    const counting = present(info, scores);
    info.vocabulary.forEach((tag, column) => {
      const score = scores[column] ?? 0;
      const limit = info.thresholds[column] ?? 1;
      if (!silent && counting[column]) rows.push([...where, cell(tag), score.toFixed(6), limit, 0]);
    });
  }
  return rows.map((row) => `${row.join(",")}\r\n`).join("");
}

/** Text that no spreadsheet takes for a formula, quoted where CSV needs it. */
function cell(text: string): string {
  const safe = FORMULA_STARTS.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
