import { durationMs } from '@bufbuild/protobuf/wkt';
import { REASONS, type Reason } from '../base/reason.ts';
import type { CallOptions, ClientStream, Connection } from './client.ts';
import type { CallError } from './gen/lockstep/v1/common_pb.ts';
import {
  type ImportTokensRequestSchema,
  type ImportTokensResponseSchema,
  VaultService,
} from './gen/lockstep/v1/vault_service_pb.ts';
import { RpcError, rpcErrorOf } from './rpc-error.ts';
import { type FailedItem, failedItems, leafOf } from './token-verbs.ts';

/** Pairs that keep their tokens. */
export interface PairBatch {
  readonly domain: string;
  readonly purpose: string;
  readonly values: readonly string[];
  /** As many. */
  readonly tokens: readonly string[];
  /** As many, or none. */
  readonly subjects: readonly string[];
}

export interface ImportOutcome {
  readonly errors: readonly FailedItem[];
  readonly leafIndex: number;
}

/** One stream of batches; calls need not wait for each other, and are answered in their order. */
export interface Importer {
  /** Rejects with `RpcError` where the batch failed as a whole: nothing of it is stored then, or
   *  its outcome is open. After a broken stream the next batch opens a new one. */
  send(batch: PairBatch): Promise<ImportOutcome>;
  close(): void;
}

export interface ExportedPairs {
  readonly values: readonly string[];
  readonly tokens: readonly string[];
  /** Place of the last one, to go on behind it. */
  readonly row: string;
  readonly leafIndex: number;
}

export interface PairVerbs {
  importer(options?: CallOptions): Importer;
  /** `after` is the `row` to go on behind; '' for the start. */
  exportTokens(
    query: { readonly domain: string; readonly purpose: string; readonly after: string },
    options?: CallOptions,
  ): AsyncGenerator<ExportedPairs>;
}

export function pairVerbs(connection: Connection): PairVerbs {
  const vault = connection.stub(VaultService);
  return {
    importer: (options) => new ImportPipe(() => vault.importTokens(options)),
    async *exportTokens(query, options) {
      for await (const batch of vault.exportTokens(query, options)) {
        const { values, tokens, row } = batch;
        yield { values, tokens, row, leafIndex: leafOf(batch) };
      }
    },
  };
}

type Stream = ClientStream<typeof ImportTokensRequestSchema, typeof ImportTokensResponseSchema>;

interface Waiting {
  readonly resolve: (outcome: ImportOutcome) => void;
  readonly reject: (error: RpcError) => void;
}

/** One stream while it lives, and the batches on it that have no answer yet. */
interface Open {
  readonly stream: Stream;
  readonly waiting: Map<number, Waiting>;
  seq: number;
}

class ImportPipe implements Importer {
  readonly #openStream: () => Stream;
  #open: Open | undefined;

  constructor(openStream: () => Stream) {
    this.#openStream = openStream;
  }

  send({ values, tokens, subjects, ...batch }: PairBatch): Promise<ImportOutcome> {
    const open = this.#current();
    const seq = ++open.seq;
    return new Promise((resolve, reject) => {
      open.waiting.set(seq, { resolve, reject });
      const columns = { values: [...values], tokens: [...tokens], subjects: [...subjects] };
      // Whoever reads the answers tells of a broken stream.
      open.stream.send({ ...batch, ...columns, seq }).catch(() => {});
    });
  }

  close(): void {
    this.#open?.stream.end();
    this.#open = undefined;
  }

  #current(): Open {
    if (this.#open === undefined) {
      const open: Open = { stream: this.#openStream(), waiting: new Map(), seq: 0 };
      this.#open = open;
      void this.#read(open);
    }
    return this.#open;
  }

  async #read(open: Open): Promise<void> {
    let end: unknown;
    try {
      for await (const answer of open.stream.answers) {
        const { seq, error, errors } = answer;
        const waiting = open.waiting.get(seq);
        open.waiting.delete(seq);
        if (error !== undefined) waiting?.reject(errorOf(error));
        else waiting?.resolve({ errors: failedItems(errors), leafIndex: leafOf(answer) });
      }
    } catch (cause) {
      end = cause;
    }
    if (this.#open === open) this.#open = undefined;
    for (const waiting of open.waiting.values()) waiting.reject(rpcErrorOf(end));
  }
}

/** An in-band error, as the unary call would have thrown it. */
function errorOf({ code, reason, metadata, retryDelay }: CallError): RpcError {
  const text = Object.hasOwn(REASONS, reason) ? REASONS[reason as Reason].text : 'the call failed';
  const retryDelayMs = retryDelay === undefined ? undefined : durationMs(retryDelay);
  return new RpcError(code, text, { reason, metadata, violations: [], retryDelayMs });
}
