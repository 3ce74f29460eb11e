/** Runs in the audio thread: collects what is heard, and posts it a tenth of a second at a time. */

declare const sampleRate: number;
declare function registerProcessor(name: string, processor: unknown): void;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}

const CHUNK_SECONDS = 0.1;

class Capture extends AudioWorkletProcessor {
  private channels: Float32Array[] = [];
  private filled = 0;
  private isOver = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.post();
      this.port.postMessage(null); // the last message
      this.isOver = true;
    };
  }

  process([input]: Float32Array[][]): boolean {
    const block = input?.[0]?.length ?? 0;
    if (input && block) this.append(input, block);
    return !this.isOver;
  }

  private append(input: Float32Array[], block: number): void {
    const room = this.channels[0]?.length ?? 0;
    if (input.length !== this.channels.length || this.filled + block > room) {
      this.post();
      const samples = Math.ceil((CHUNK_SECONDS * sampleRate) / block) * block;
      this.channels = input.map(() => new Float32Array(samples));
    }
    input.forEach((samples, index) => {
      this.channels[index]?.set(samples, this.filled);
    });
    this.filled += block;
  }

  private post(): void {
    if (this.filled) this.port.postMessage(this.channels.map((each) => each.slice(0, this.filled)));
    this.channels = [];
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
