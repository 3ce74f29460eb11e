/** A live stream to a gateway: samples go out, hops and events come back. */

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

type Answer =
  | { type: "session" }
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

export class ServerStream implements Stream {
  private updates: Update[] = [];
  /** Events whose hop has been handed over already. */
  private events: (EventRecord | SilenceRecord)[] = [];
  private error: MuqrtError | null = null;
  private segments: SegmentsRecord | null = null;
  private isOpen = false;
  /** Called whenever something has come. */
  private woken = () => {};

  static async open({ base, token, rateHz, name }: Where, info: TagInfo): Promise<ServerStream> {
    const url = new URL(`/v1/stream?format=f32&rate=${rateHz}&scores=1`, base);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = token ? ["muqrt", `bearer.${token}`] : ["muqrt"];
    const stream = new ServerStream(new WebSocket(url, protocols), rateHz, name, info);
    await stream.until(() => stream.isOpen);
    return stream;
  }

  private constructor(
    private readonly socket: WebSocket,
    readonly rateHz: number,
    private readonly name: string,
    private readonly info: TagInfo,
  ) {
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }: MessageEvent<string>) => {
      this.receive(JSON.parse(data));
      this.woken();
    };
    socket.onclose = ({ reason }) => {
      this.error ??= new MuqrtError(
        reason || "The connection to the server broke off. Start again.",
      );
      this.woken();
    };
  }

  get behindSeconds(): number {
    return this.socket.bufferedAmount / (Float32Array.BYTES_PER_ELEMENT * this.rateHz);
  }

  async push(channels: Float32Array[]): Promise<Update[]> {
    if (this.error) throw this.error;
    this.socket.send(mono(channels));
    return this.updates.splice(0);
  }

  async finish(): Promise<StreamEnd> {
    this.socket.send("end");
    const segments = await this.until(() => this.segments);
    this.socket.close();
    const [updates, events] = [this.updates.splice(0), this.events.splice(0)];
    return { updates, events, segments: { ...segments, audio: this.name } };
  }

  private receive(answer: Answer): void {
    if (answer.type === "session") this.isOpen = true;
    else if (answer.type === "error") this.error = new MuqrtError(answer.error);
    else if (answer.type === "segments") this.segments = answer;
    else if (answer.type === "hop") {
      const { scores, ...hop } = answer;
      const all = scores ?? this.info.vocabulary.map((tag) => hop.tags[tag] ?? 0);
      this.updates.push({ hop, scores: Float32Array.from(all), events: this.events.splice(0) });
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

/** The channels' mean: a gateway takes one. */
function mono(channels: Float32Array[]): Float32Array<ArrayBuffer> {
  const mixed = new Float32Array(channels[0]?.length ?? 0);
  return mixed.map(
    (_, i) => channels.reduce((sum, each) => sum + (each[i] ?? 0), 0) / channels.length,
  );
}
