/** Shows how far a run is, on a stream that people read. */
export interface Progress extends Disposable {
  /** Begins a phase of so many steps; 0: nobody knows how many. */
  begin(what: string, total: number): void;
  step(count?: number): void;
}

const terminalMs = 200;
const lineMs = 5_000;

/** On a terminal one line, rewritten; elsewhere a line every few seconds. */
export function openProgress(stream: NodeJS.WriteStream, unit = "rows"): Progress {
  let what = "";
  let total = 0;
  let done = 0;
  let beganMs = performance.now();
  const show = (): void => {
    if (what === "") return;
    const seconds = (performance.now() - beganMs) / 1_000;
    const text = describe(what, done, total, seconds, unit);
    stream.write(stream.isTTY ? `\r\u001b[K${text}` : `${text}\n`);
  };
  const timer = setInterval(show, stream.isTTY ? terminalMs : lineMs);
  const end = (): void => {
    if (stream.isTTY && what !== "") {
      show();
      stream.write("\n");
    }
  };
  return {
    begin(name, count) {
      end();
      [what, total, done, beganMs] = [name, count, 0, performance.now()];
    },
    step: (count = 1) => void (done += count),
    [Symbol.dispose]() {
      clearInterval(timer);
      end();
    },
  };
}

export function describe(what: string, done: number, total: number, seconds: number, unit: string): string {
  const rate = seconds > 0 ? done / seconds : 0;
  const speed = `${Math.round(rate)} ${unit}/s`;
  if (total === 0) return `${what}: ${done} ${unit}, ${speed}`;
  const percent = Math.floor((100 * done) / total);
  const left = rate > 0 ? `about ${toDuration((total - done) / rate)} left` : "";
  return [`${what}: ${done} of ${total} ${unit} (${percent} %)`, speed, left].filter(Boolean).join(", ");
}

function toDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
