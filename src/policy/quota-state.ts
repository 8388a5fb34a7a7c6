import assert from 'node:assert';

/** A quota book at rest. */
export interface QuotaState {
  /** Log entries below it are counted in. */
  readonly logPosition: number;
  /** Days since 1970 that `tokenize` and `reveal` belong to. */
  readonly day: number;
  readonly accounts: readonly AccountRow[];
}

export interface AccountRow {
  readonly caller: string;
  readonly domain: string;
  readonly tokenize: number;
  readonly reveal: number;
  readonly grants: readonly { readonly count: number; readonly untilMs: number }[];
}

/** A record that is none of ours or was cut: the book cannot be rebuilt from it. It proves nothing
 *  about bytes flipped on purpose; whoever stores it authenticates it. */
export class QuotaStateError extends Error {
  override readonly name = 'QuotaStateError';
}

/** "LSQ" and the version of this layout. All numbers are 8 bytes, little-endian IEEE 754, exact
 *  below 2^53; a string is its length in bytes (2 bytes, little-endian) and UTF-8. */
const MAGIC = Uint8Array.of(0x4c, 0x53, 0x51, 0x01);

/** magic ‖ log position ‖ day ‖ number of accounts ‖ accounts, each: caller ‖ domain ‖ tokenize ‖
 *  reveal ‖ number of grants ‖ grants, each: count ‖ end. */
export function encodeState(state: QuotaState): Uint8Array {
  const parts: Uint8Array[] = [MAGIC];
  const number = (value: number): void => {
    parts.push(new Uint8Array(Float64Array.of(value).buffer));
  };
  const string = (value: string): void => {
    const bytes = Buffer.from(value, 'utf8');
    assert(bytes.length <= 0xffff, 'ids are short');
    parts.push(Uint8Array.of(bytes.length & 0xff, bytes.length >> 8), bytes);
  };
  number(state.logPosition);
  number(state.day);
  number(state.accounts.length);
  for (const row of state.accounts) {
    string(row.caller);
    string(row.domain);
    number(row.tokenize);
    number(row.reveal);
    number(row.grants.length);
    for (const grant of row.grants) {
      number(grant.count);
      number(grant.untilMs);
    }
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** The inverse, to the last byte. Throws `QuotaStateError`. */
export function decodeState(bytes: Uint8Array): QuotaState {
  const reader = new Reader(bytes);
  reader.magic();
  const logPosition = reader.number();
  const day = reader.number();
  const accounts: AccountRow[] = [];
  for (let left = reader.number(); left > 0; left--) {
    const caller = reader.string();
    const domain = reader.string();
    const tokenize = reader.number();
    const reveal = reader.number();
    const grants: { count: number; untilMs: number }[] = [];
    for (let more = reader.number(); more > 0; more--) {
      grants.push({ count: reader.number(), untilMs: reader.number() });
    }
    accounts.push({ caller, domain, tokenize, reveal, grants });
  }
  reader.end();
  return { logPosition, day, accounts };
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  magic(): void {
    const start = this.#take(MAGIC.length);
    if (MAGIC.some((byte, i) => this.#bytes[start + i] !== byte)) throw broken();
  }

  number(): number {
    const value = this.#view.getFloat64(this.#take(8), true);
    if (!Number.isSafeInteger(value) || value < 0) throw broken();
    return value;
  }

  string(): string {
    const length = this.#view.getUint16(this.#take(2), true);
    const start = this.#take(length);
    return Buffer.from(this.#bytes.subarray(start, start + length)).toString('utf8');
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw broken();
  }

  #take(count: number): number {
    const start = this.#at;
    if (count > this.#bytes.length - start) throw broken();
    this.#at = start + count;
    return start;
  }
}

const broken = (): QuotaStateError => new QuotaStateError('the record of the quotas does not read');
