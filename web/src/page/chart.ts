/** Tags over time: a row for each tag, and one moment that can be moved through them. */

import { present } from "../index.ts";
import { clock, element, percent } from "./elements.ts";
import type { TagInfo } from "./tagger.ts";
import { type Stretch, stretchAt } from "./timeline.ts";

const TICKS_SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 3600];
const MOST_TICKS = 7;

interface Row {
  column: number;
  canvas: HTMLCanvasElement;
  score: HTMLElement;
  item: HTMLElement;
}

export class Chart {
  readonly element: HTMLElement;
  private readonly list = element("ol", { "aria-label": "Tags and their probabilities" });
  private readonly axis = element("div", { class: "axis", "aria-hidden": "true" });
  private readonly moment = element("input", {
    type: "range",
    "aria-label": "Moment in the music",
    step: "0.1",
    min: "0",
  });
  private readonly reading = element("span", { class: "reading", "aria-hidden": "true" });
  private readonly rows = new Map<string, Row>();
  private readonly counting = new WeakMap<Stretch, boolean[]>();
  private stretches: readonly Stretch[] = [];
  /** The moment whose scores are shown; null for the end, as it moves on. */
  private seconds: number | null = null;

  constructor(private readonly info: TagInfo) {
    this.element = element("div", { class: "chart" }, this.list, this.axis, this.moment);
    this.element.append(this.reading);
    this.moment.addEventListener("input", () => this.moveTo(Number(this.moment.value)));
    this.list.addEventListener("pointermove", (event) => this.follow(event));
    new ResizeObserver(() => this.draw()).observe(this.list);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show these tags, in this order. */
  show(stretches: readonly Stretch[], tags: string[]): void {
    this.stretches = stretches;
    const items = tags.map((tag) => this.row(tag).item);
    if (items.some((item, index) => this.list.children[index] !== item))
      this.list.replaceChildren(...items);
    for (const tag of this.rows.keys()) if (!tags.includes(tag)) this.rows.delete(tag);
    this.moment.max = String(this.endSeconds);
    this.draw();
  }

  /** Show the scores of this moment, in seconds. */
  moveTo(seconds: number): void {
    this.seconds = seconds;
    this.draw();
  }

  private get endSeconds(): number {
    return this.stretches.at(-1)?.end_seconds ?? 0;
  }

  private row(tag: string): Row {
    const known = this.rows.get(tag);
    if (known) return known;
    const canvas = element("canvas", { "aria-hidden": "true" });
    const score = element("span", { class: "score" });
    const item = element("li", {}, element("span", { class: "tag" }, tag), canvas, score);
    const row = { column: this.info.vocabulary.indexOf(tag), canvas, score, item };
    this.rows.set(tag, row);
    return row;
  }

  private follow(event: PointerEvent): void {
    if (!(event.target instanceof HTMLCanvasElement)) return;
    const share = event.offsetX / event.target.clientWidth;
    this.moveTo(Math.max(0, Math.min(1, share)) * this.endSeconds);
  }

  private draw(): void {
    const end = this.endSeconds;
    const seconds = Math.min(this.seconds ?? end, end);
    const stretch = stretchAt(this.stretches, seconds);
    const style = getComputedStyle(this.element);
    const colours = ["--on", "--off", "--line", "--ink"].map((name) =>
      style.getPropertyValue(name),
    );
    for (const row of this.rows.values()) {
      const score = stretch?.scores[row.column] ?? 0;
      row.score.textContent = percent(score);
      row.item.classList.toggle("on", stretch !== undefined && this.counts(stretch, row));
      this.drawRow(row, colours, seconds / (end || 1));
    }
    this.moment.value = String(seconds);
    this.moment.setAttribute("aria-valuetext", clock(seconds, true));
    this.reading.textContent = clock(seconds, true);
    this.drawAxis(end);
  }

  private counts(stretch: Stretch, { column }: Row): boolean {
    const found = this.counting.get(stretch) ?? present(this.info, stretch.scores);
    this.counting.set(stretch, found);
    return found[column] ?? false;
  }

  private limit(row: Row): number {
    return this.info.thresholds[row.column] ?? 1;
  }

  /** A bar for each stretch, strong where the tag counts; a line at its threshold. */
  private drawRow(row: Row, colours: string[], moment: number): void {
    const { canvas } = row;
    const [on = "", off = "", line = "", ink = ""] = colours;
    const width = Math.round(canvas.clientWidth * devicePixelRatio);
    const height = Math.round(canvas.clientHeight * devicePixelRatio);
    const pen = canvas.getContext("2d");
    if (!pen || !width) return;
    canvas.width = width; // which also clears it
    canvas.height = height;
    const x = (seconds: number) => Math.round((seconds / this.endSeconds) * width);
    for (const stretch of this.stretches) {
      const { start_seconds, end_seconds, scores } = stretch;
      const score = scores[row.column] ?? 0;
      const left = x(start_seconds);
      const tall = Math.max(1, score * height);
      pen.fillStyle = this.counts(stretch, row) ? on : off;
      pen.fillRect(left, height - tall, Math.max(1, x(end_seconds) - left), tall);
    }
    pen.fillStyle = line;
    pen.fillRect(0, Math.round((1 - this.limit(row)) * height), width, 1);
    pen.fillStyle = ink;
    pen.fillRect(
      Math.min(width - 1, Math.round(moment * width)),
      0,
      Math.ceil(devicePixelRatio),
      height,
    );
  }

  private drawAxis(end: number): void {
    const step = TICKS_SECONDS.find((each) => end / each <= MOST_TICKS) ?? end / MOST_TICKS;
    const marks: HTMLElement[] = [];
    for (let seconds = 0; seconds <= end; seconds += step) {
      const mark = element("span", {}, clock(seconds));
      mark.style.left = `${(100 * seconds) / (end || 1)}%`;
      marks.push(mark);
      if (!end) break;
    }
    this.axis.replaceChildren(...marks);
  }
}
