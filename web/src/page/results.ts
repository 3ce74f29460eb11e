/** What has been found, on the page: one article for each file and each stream. */

import type {
  EventRecord,
  Segment,
  SilenceRecord,
  StreamEnd,
  StreamRecord,
  TrackTags,
  Update,
} from "../types.ts";
import { Chart } from "./chart.ts";
import { csv, saveButton, streamJson, trackJson } from "./downloads.ts";
import { clock, element, percent } from "./elements.ts";
import type { TagInfo } from "./tagger.ts";
import { StreamTimeline } from "./timeline.ts";

const MOST_EVENTS = 200; // on the page; the download has more
const MOST_RECORDS = 50_000; // in it, the last of some hours
const MOST_NAMED = 8;

/** A tagged file, with its sound to play beside the chart. */
export function trackArticle(track: TrackTags, info: TagInfo, file: Blob): HTMLElement {
  const chart = new Chart(info);
  const sound = element("audio", { controls: "", src: URL.createObjectURL(file) });
  sound.setAttribute("aria-label", `Play ${track.audio}`);
  sound.addEventListener("timeupdate", () => chart.moveTo(sound.currentTime));
  chart.show(track.windows, Object.keys(track.segments));
  const best = withScores(track.tags);
  const nothing = track.silent ? "Silent." : "No tag reaches its threshold.";
  return element(
    "article",
    { "aria-label": track.audio },
    element("h2", {}, track.audio),
    element("p", { class: "summary" }, `${clock(track.seconds)} · ${listed(best) || nothing}`),
    sound,
    chart.element,
    segmentTable(track.segments, track.silences),
    downloads(
      track.audio,
      "json",
      () => trackJson(track, info),
      () => csv(track.audio, track.windows, info),
    ),
  );
}

/** A stream while it is heard, and when it is over. */
export class StreamArticle {
  readonly element: HTMLElement;
  private readonly chart: Chart;
  private readonly timeline = new StreamTimeline();
  private records: StreamRecord[] = [];
  private readonly tags = new Set<string>();
  private readonly summary = element("p", { class: "summary" }, "Listening…");
  private readonly log = element("div", {
    role: "log",
    "aria-label": "Events",
    "aria-live": "polite",
    tabindex: "0",
  });

  constructor(name: string, info: TagInfo) {
    this.chart = new Chart(info);
    this.element = element("article", { "aria-label": name }, element("h2", {}, name));
    const json = () => streamJson(this.records);
    const table = () => csv(name, this.timeline.stretches, info);
    const files = downloads(name, "jsonl", json, table);
    this.element.append(this.summary, this.chart.element, this.log, files);
  }

  add(updates: Update[]): void {
    for (const update of updates) {
      this.timeline.add(update);
      this.records.push(update.hop);
      for (const tag of Object.keys(update.hop.tags)) this.tags.add(tag);
      this.addEvents(update.events);
    }
    if (this.records.length > MOST_RECORDS) this.records = this.records.slice(-MOST_RECORDS / 2);
    const hop = updates.at(-1)?.hop;
    if (!hop) return;
    const nothing = hop.silent ? "silent" : "no tag";
    const now = listed(withScores(hop.tags)) || nothing;
    this.summary.textContent = `${clock(hop.end_seconds)} · now ${now}`;
    this.chart.show(this.timeline.stretches, [...this.tags]);
  }

  finish({ updates, events, segments }: StreamEnd): void {
    this.add(updates);
    this.addEvents(events);
    this.records.push(segments);
    const tags = Object.keys(segments.segments);
    const nothing = segments.silent ? "Silent." : "No tag lasted for a second.";
    this.summary.textContent = `${clock(segments.seconds)} · ${listed(tags) || nothing}`;
    this.chart.show(this.timeline.stretches, tags.length ? tags : [...this.tags]);
    this.log.after(segmentTable(segments.segments, segments.silences));
  }

  private addEvents(events: (EventRecord | SilenceRecord)[]): void {
    for (const event of events) {
      this.records.push(event);
      this.log.append(element("p", {}, eventLine(event)));
    }
    while (this.log.childElementCount > MOST_EVENTS) this.log.firstChild?.remove();
    if (events.length) this.log.scrollTop = this.log.scrollHeight;
  }
}

function withScores(tags: Record<string, number>): string[] {
  return Object.entries(tags).map(([tag, score]) => `${tag} ${percent(score)}`);
}

/** Names as a list that stays short. */
function listed(names: string[]): string {
  const more = names.length - MOST_NAMED;
  return names.slice(0, MOST_NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** An event as `muqrt stream` prints it. */
function eventLine(event: EventRecord | SilenceRecord): string {
  const what = event.type === "event" ? event.tag : "silence";
  const start = event.start_seconds.toFixed(1);
  if (event.end_seconds === null) return `${start} s  ${what} begins`;
  const end = event.end_seconds.toFixed(1);
  return `${end} s  ${what} ends (${start} to ${end} s)`;
}

function segmentTable(segments: Record<string, Segment[]>, silences: Segment[]): HTMLElement {
  const found = Object.entries(segments);
  if (silences.length) found.push(["silence", silences]);
  const rows = found.flatMap(([tag, stretches]) =>
    stretches.map(([start, end]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, tag),
        element("td", {}, clock(start, true)),
        element("td", {}, clock(end, true)),
      ),
    ),
  );
  const heads = ["Tag", "From", "To"].map((text) => element("th", { scope: "col" }, text));
  return element(
    "details",
    {},
    element("summary", {}, "As a table"),
    element(
      "table",
      {},
      element("caption", {}, "When each tag is heard"),
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows),
    ),
  );
}

function downloads(
  audio: string,
  extension: string,
  json: () => string,
  table: () => string,
): HTMLElement {
  return element(
    "p",
    { class: "downloads" },
    saveButton("Download JSON", `${audio}.${extension}`, "application/json", json),
    saveButton("Download CSV", `${audio}.csv`, "text/csv", table),
  );
}
