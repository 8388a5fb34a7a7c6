import { randomFillSync } from 'node:crypto';
import { type Body, bodyHash, encodeBody, SALT_BYTES } from '../../audit/body.ts';
import { columnOf, rowBytes } from '../../base/column.ts';
import type { BlockKey } from '../../keys/key.ts';
import { sivSeal } from '../../modes/siv.ts';
import type { SealedBody } from '../job.ts';

/** Associated data of every log body: the keys serve nothing else. */
export const BODY_LABEL = Buffer.from('lockstep log body v1');

const SALTS_AT_ONCE = 128;
const salts = new Uint8Array(SALTS_AT_ONCE * SALT_BYTES);
let saltsLeft = 0;

/** 32 fresh random bytes; drawn in bulk, since a draw costs more than a salt. */
function freshSalt(): Uint8Array {
  if (saltsLeft === 0) {
    randomFillSync(salts);
    saltsLeft = SALTS_AT_ONCE;
  }
  saltsLeft -= 1;
  const at = saltsLeft * SALT_BYTES;
  const salt = salts.slice(at, at + SALT_BYTES);
  salts.fill(0, at, at + SALT_BYTES);
  return salt;
}

/** Log bodies of the calls of one message, sealed together at its end: the chains of all of them
 *  cross the module in lockstep. */
export class Bodies {
  readonly #encoded: Uint8Array[] = [];
  readonly #waiting: { hash: Uint8Array; salt: Uint8Array; take: (body: SealedBody) => void }[] =
    [];

  add(body: Omit<Body, 'salt'>, take: (body: SealedBody) => void): void {
    const salt = freshSalt();
    const encoded = encodeBody({ ...body, salt });
    this.#encoded.push(encoded);
    this.#waiting.push({ hash: bodyHash(encoded), salt, take });
  }

  seal(mac: BlockKey, ctr: BlockKey): void {
    if (this.#encoded.length === 0) return;
    const first = this.#encoded[0]!;
    const joined =
      this.#encoded.length === 1
        ? { bytes: first, ends: Uint32Array.of(first.length) }
        : columnOf(this.#encoded);
    const sealed = sivSeal(mac, ctr, [BODY_LABEL], joined);
    for (const [i, { hash, salt, take }] of this.#waiting.entries()) {
      take({ sealed: rowBytes(sealed, i), hash, salt });
    }
  }
}
