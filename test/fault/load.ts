import { setTimeout as pause } from 'node:timers/promises';
import type { Connection } from '../../src/rpc/client.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { perform } from './calls.ts';
import type { Server } from './home.ts';
import type { Ack, Ask, Journal } from './journal.ts';
import { Random } from './random.ts';

/** Unmistakable: it stands in every name and note, and may stand nowhere on the server's disk. */
export const CANARY = 'CanaryZq9XwLockstep';

/** What is tokenized where, kind by kind. */
export const STATIC = 'clinic/ssn';
export const STUDY = 'clinic/study7';
export const DYNAMIC = 'clinic/visit';
export const FPE = 'clinic/account';
export const NOTE = 'clinic/note';
export const NAME = 'clinic/name';
export const DOMAINS = [STATIC, STUDY, DYNAMIC, FPE, NOTE, NAME] as const;

const ITEMS = 16;
const WORKERS = 4;
const DEADLINE_MS = 15_000;
const RETRY_MS = 60_000;

/** One value of a domain, in the form in which it would be found by a search. */
export function exampleOf(domain: string, random: Random): string {
  switch (domain) {
    case STATIC:
      return ssn(random);
    case NOTE:
      return `${CANARY} note ${random.digits(12)}: seen twice, ${random.digits(20)}`;
    case NAME:
      return `${CANARY} O'Núñez-${random.digits(8)}`;
    default:
      return `${1 + random.below(8)}${random.digits(7)}${random.below(10)}`;
  }
}

function ssn(random: Random): string {
  const area = 1 + random.below(665);
  const pad = (number: number, width: number): string => String(number).padStart(width, '0');
  return `${pad(area, 3)}-${pad(1 + random.below(99), 2)}-${pad(1 + random.below(9_999), 4)}`;
}

export interface LoadOptions {
  readonly journal: Journal;
  readonly random: Random;
  /** Who serves now; undefined while nobody does. */
  readonly server: () => Server | undefined;
  /** Repeats a failed call, under its request id, until it succeeds. Else a failure is an answer,
   *  and a connection that broke ends the worker. */
  readonly retry?: boolean;
  readonly workers?: number;
  readonly domains?: readonly string[];
}

/** Clients that mix every kind of token, reveals and exchanges, and write down what they ask and
 *  what they are told. */
export class Load {
  readonly #options: LoadOptions;
  readonly #stop = new AbortController();
  readonly #given = new Map<string, string[]>();
  readonly #connections = new Map<Server, Connection>();
  readonly #workers: Promise<void>[];
  #next: number;
  #abandoned = false;
  acks = 0;
  /** Calls that failed, by reason; '' where the connection broke. */
  readonly failures: Record<string, number> = {};

  constructor(options: LoadOptions) {
    this.#options = options;
    const account = options.journal.read();
    this.#next = account.nextId;
    for (const { domain, token } of account.tokens().acked) this.#give(domain, token);
    const workers = options.workers ?? WORKERS;
    this.#workers = Array.from({ length: workers }, (_, i) => this.#work(i));
    // Who stops the load hears of a failure; until then it must not end the process.
    for (const worker of this.#workers) worker.catch(() => {});
  }

  /** Ends it without waiting, in whatever state the run is. */
  abandon(): void {
    this.#abandoned = true;
    this.#stop.abort();
  }

  /** No further calls; resolves when those under way have ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#workers);
  }

  async #work(number: number): Promise<void> {
    const random = new Random(this.#options.random.below(2 ** 31) + number);
    while (!this.#stop.signal.aborted) {
      const ask = this.#ask(random);
      this.#options.journal.write({ ask });
      if (!(await this.#call(ask))) return;
    }
  }

  /** False where the worker is to end. */
  async #call(ask: Ask): Promise<boolean> {
    const { journal, server, retry = false } = this.#options;
    const until = Date.now() + RETRY_MS;
    for (;;) {
      const reason = await this.#attempt(ask, server());
      if (reason === undefined) return true;
      if (this.#abandoned) return false;
      this.failures[reason] = (this.failures[reason] ?? 0) + 1;
      if (!retry) {
        if (reason === '') return false;
        journal.write({ fail: { id: ask.id, reason } });
        return true;
      }
      if (Date.now() > until) throw new Error('a retried call did not succeed within a minute');
      await pause(50);
    }
  }

  /** Undefined where it succeeded. */
  async #attempt(ask: Ask, server: Server | undefined): Promise<string | undefined> {
    if (server === undefined) return '';
    let connection = this.#connections.get(server);
    if (connection === undefined) {
      connection = server.connect();
      this.#connections.set(server, connection);
    }
    try {
      const ack = await perform(connection, ask, { deadlineMs: DEADLINE_MS });
      this.#options.journal.write({ ack });
      this.#learn(ask, ack);
      this.acks += 1;
      return undefined;
    } catch (error) {
      if (error instanceof RpcError) return error.reason;
      throw error;
    }
  }

  #learn(ask: Ask, { outputs }: Ack): void {
    if (ask.verb === 'detokenize') return;
    const domain = ask.verb === 'exchange' ? ask.target : ask.domain;
    for (const token of outputs) if (token !== '') this.#give(domain, token);
  }

  #give(domain: string, token: string): void {
    const given = this.#given.get(domain) ?? [];
    given.push(token);
    this.#given.set(domain, given);
  }

  #ask(random: Random): Ask {
    const id = this.#next++;
    const { domains = [STATIC, DYNAMIC, FPE, NOTE, NAME] } = this.#options;
    const domain = random.pick(domains);
    const given = this.#given.get(domain) ?? [];
    const die = random.below(10);
    const common = { id, domain, requestId: '', target: '' };
    if (die < 3 && given.length > 0) {
      const items = Array.from({ length: ITEMS }, () => random.pick(given));
      return { ...common, verb: 'detokenize', items, purpose: 'TREAT' };
    }
    if (die === 3 && domain === STATIC && given.length > 0) {
      const items = Array.from({ length: ITEMS }, () => random.pick(given));
      return { ...common, verb: 'exchange', items, purpose: 'HRESCH', target: STUDY };
    }
    const items = Array.from({ length: ITEMS }, () => exampleOf(domain, random));
    // A value that comes twice in a batch, and again in later ones.
    items[ITEMS - 1] = items[0]!;
    return { ...common, verb: 'tokenize', items, purpose: '', requestId: `fault-${id}` };
  }
}
