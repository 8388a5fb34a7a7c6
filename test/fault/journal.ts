import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';

/** What the client is about to ask. */
export interface Ask {
  readonly id: number;
  readonly verb: 'tokenize' | 'detokenize' | 'exchange';
  readonly domain: string;
  /** Values, or tokens where the verb takes tokens. */
  readonly items: readonly string[];
  readonly purpose: string;
  readonly requestId: string;
  /** The other domain of an exchange; '' else. */
  readonly target: string;
}

/** What the server acknowledged. */
export interface Ack {
  readonly id: number;
  /** Empty where `errors` names the item. */
  readonly outputs: readonly string[];
  readonly errors: readonly { readonly index: number; readonly reason: string }[];
  readonly leaf: number;
  /** RFC 6962 leaf hash of the receipt, hex. */
  readonly hash: string;
}

export type Line =
  | { readonly ask: Ask }
  | { readonly ack: Ack }
  | { readonly fail: { readonly id: number; readonly reason: string } }
  /** A checkpoint as the log published it. */
  | { readonly checkpoint: string };

/** The client's own memory of what it asked and what it was told: each line is on the disk before
 *  the client goes on, outside the folder that the faults damage. */
export class Journal {
  readonly path: string;
  #file: number | undefined;

  constructor(path: string) {
    this.path = path;
    this.#file = openSync(path, 'a', 0o600);
  }

  write(line: Line): void {
    if (this.#file === undefined) throw new Error('the journal is closed');
    writeSync(this.#file, `${JSON.stringify(line)}\n`);
    fdatasyncSync(this.#file);
  }

  lines(): Line[] {
    return readFileSync(this.path, 'utf8').split('\n').filter(Boolean).map(parse);
  }

  read(): Account {
    return new Account(this.lines());
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

const parse = (text: string): Line => JSON.parse(text) as Line;

/** A token that somebody was given, and the value that it must resolve to. */
export interface Acked {
  readonly domain: string;
  readonly token: string;
  readonly value: string;
}

/** The journal, read. */
export class Account {
  readonly asks = new Map<number, Ask>();
  /** More than one where a call was repeated under its request id. */
  readonly acks: Ack[] = [];
  readonly checkpoints: string[] = [];
  readonly #settled = new Set<number>();

  constructor(lines: readonly Line[]) {
    for (const line of lines) {
      if ('ask' in line) this.asks.set(line.ask.id, line.ask);
      else if ('ack' in line) this.#ack(line.ack);
      else if ('checkpoint' in line) this.checkpoints.push(line.checkpoint);
    }
  }

  #ack(ack: Ack): void {
    this.acks.push(ack);
    this.#settled.add(ack.id);
  }

  get nextId(): number {
    return Math.max(0, ...this.asks.keys()) + 1;
  }

  /** Asked, and never answered: done or not, nobody knows. */
  unknown(): Ask[] {
    return [...this.asks.values()].filter(({ id }) => !this.#settled.has(id));
  }

  /** Every acknowledged token once. `conflicts` are those that were acknowledged for two values. */
  tokens(): { readonly acked: Acked[]; readonly conflicts: number } {
    const known = new Map<string, Acked>();
    let conflicts = 0;
    const learn = (domain: string, token: string, value: string | undefined): void => {
      if (token === '' || value === undefined || value === '') return;
      const key = `${domain} ${token}`;
      const before = known.get(key);
      if (before === undefined) known.set(key, { domain, token, value });
      else if (before.value !== value) conflicts += 1;
    };
    for (const ack of this.acks) {
      const ask = this.asks.get(ack.id)!;
      for (const [i, output] of ack.outputs.entries()) {
        const item = ask.items[i]!;
        if (ask.verb === 'tokenize') learn(ask.domain, output, item);
        if (ask.verb === 'detokenize') learn(ask.domain, item, output);
        if (ask.verb === 'exchange') {
          learn(ask.target, output, known.get(`${ask.domain} ${item}`)?.value);
        }
      }
    }
    return { acked: [...known.values()], conflicts };
  }
}
