/** A live stream to a gateway: samples go out, hops and events come back. */

import { DownMix } from "../engine/mix.ts";
import {
  type EventRecord,
  type HopRecord,
  MuqrtError,
  type SegmentsRecord,
  type SilenceRecord,
  type Stream,
  type StreamEnd,
  type Update,
} from "../types.ts";
import type { TagInfo } from "./tagger.ts";

// As long as a gateway keeps a stream that has lost its socket.
const RESUME_MS = 30_000;
const PAUSE_MS = 500;
// A hop tells to the nearest sample of the model how far the gateway has come; keep a little more.
const MARGIN_SECONDS = 1;
const BROKEN_OFF = "The connection to the server broke off. Start again.";

type Answer =
  | { type: "session"; session: string; samples: number }
  | { type: "error"; error: string }
  | (HopRecord & { scores?: number[] })
  | EventRecord
  | SilenceRecord
  | SegmentsRecord;

interface Where {
  base: URL;
  token: string;
  rateHz: number;
  name: string;
}

/** A socket that breaks off is replaced by another, and the stream goes on where it was. */
export class ServerStream implements Stream {
  private socket!: WebSocket;
  private isConnected = false;
  /** When the socket broke off. */
  private lostAt = 0;
  /** What the gateway calls the stream. */
  private session: string | null = null;
  /** How many messages have come of it. */
  private received = 0;
  /** What the gateway may not have yet, from this sample on. */
  private held: Float32Array<ArrayBuffer>[] = [];
  private heldFrom = 0;
  private isEnding = false;
  private readonly mix = new DownMix();
  private updates: Update[] = [];
  /** Events whose hop has been handed over already. */
  private events: (EventRecord | SilenceRecord)[] = [];
  private error: MuqrtError | null = null;
  private segments: SegmentsRecord | null = null;
  /** Called whenever something has come. */
  private woken = () => {};

  static async open(where: Where, info: TagInfo): Promise<ServerStream> {
    const stream = new ServerStream(where, info);
    stream.connect(`format=f32&rate=${where.rateHz}&scores=1`);
    await stream.until(() => stream.session);
    return stream;
  }

  private constructor(
    private readonly where: Where,
    private readonly info: TagInfo,
  ) {}

  get rateHz(): number {
    return this.where.rateHz;
  }

  get behindSeconds(): number {
    const waiting = this.held.reduce((sum, each) => sum + each.length, 0);
    const bytes = Float32Array.BYTES_PER_ELEMENT;
    return (this.isConnected ? this.socket.bufferedAmount / bytes : waiting) / this.rateHz;
  }

  async push(channels: Float32Array[]): Promise<Update[]> {
    if (this.error) throw this.error;
    const samples = this.mix.push(channels) as Float32Array<ArrayBuffer>;
    this.held.push(samples);
    if (this.isConnected) this.socket.send(samples);
    return this.updates.splice(0);
  }

  async finish(): Promise<StreamEnd> {
    this.isEnding = true;
    if (this.isConnected) this.socket.send("end");
    const segments = await this.until(() => this.segments);
    this.socket.close();
    const [updates, events] = [this.updates.splice(0), this.events.splice(0)];
    return { updates, events, segments: { ...segments, audio: this.where.name } };
  }

  private connect(query: string): void {
    const { base, token } = this.where;
    const url = new URL(`/v1/stream?${query}`, base);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url, token ? ["muqrt", `bearer.${token}`] : ["muqrt"]);
    this.socket.onmessage = ({ data }: MessageEvent<string>) => {
      this.receive(JSON.parse(data));
      this.woken();
    };
    this.socket.onclose = ({ reason }) => {
      this.lose(reason);
      this.woken();
    };
  }

  private lose(reason: string): void {
    if (this.isConnected) this.lostAt = performance.now();
    this.isConnected = false;
    if (this.error || this.segments) return;
    if (this.session && performance.now() - this.lostAt < RESUME_MS) {
      const query = `session=${this.session}&received=${this.received}`;
      setTimeout(() => this.connect(query), PAUSE_MS);
    } else this.error = new MuqrtError(reason || BROKEN_OFF);
  }

  private receive(answer: Answer): void {
    if (answer.type === "session") {
      this.session = answer.session;
      this.goOn(answer.samples);
    } else if (answer.type === "error") {
      const isGone = this.session && !this.isConnected;
      this.error = new MuqrtError(isGone ? BROKEN_OFF : answer.error);
    } else {
      this.received++;
      this.take(answer);
    }
  }

  private goOn(sample: number): void {
    this.isConnected = true;
    this.forget(sample);
    for (const each of this.held) this.socket.send(each);
    if (this.isEnding) this.socket.send("end");
  }

  /** Drop what comes before a sample. */
  private forget(sample: number): void {
    for (let first = this.held[0]; first && this.heldFrom < sample; first = this.held[0]) {
      const known = Math.min(first.length, sample - this.heldFrom);
      this.heldFrom += known;
      if (known < first.length) this.held[0] = first.subarray(known);
      else this.held.shift();
    }
  }

  private take(answer: Exclude<Answer, { type: "session" } | { type: "error" }>): void {
    if (answer.type === "segments") this.segments = answer;
    else if (answer.type === "hop") {
      const { scores, ...hop } = answer;
      const all = scores ?? this.info.vocabulary.map((tag) => hop.tags[tag] ?? 0);
      this.updates.push({ hop, scores: Float32Array.from(all), events: this.events.splice(0) });
      this.forget(Math.floor((hop.end_seconds - MARGIN_SECONDS) * this.rateHz));
    } else (this.updates.at(-1)?.events ?? this.events).push(answer);
  }

  /** Wait for something that is there once it is true. */
  private async until<Found>(found: () => Found | null | false): Promise<Found> {
    for (;;) {
      const value = found();
      if (value) return value;
      if (this.error) throw this.error;
      await new Promise<void>((resolve) => {
        this.woken = resolve;
      });
    }
  }
}
