import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type Checkpoint, openCheckpoint } from '../../src/audit/checkpoint.ts';
import { Disk } from '../../src/audit/disk.ts';
import { fsckLog } from '../../src/audit/fsck.ts';
import { parseVerifierKey } from '../../src/audit/note.ts';
import { TileStore } from '../../src/audit/tile-store.ts';
import {
  consistencyProof,
  inclusionProof,
  verifyConsistency,
  verifyInclusion,
} from '../../src/audit/tree.ts';
import { perform } from './calls.ts';
import type { Server } from './home.ts';
import type { Account, Acked } from './journal.ts';
import { CANARY, STATIC } from './load.ts';

/** The promises of design "Failure". */
export type Invariant = 'I1' | 'I2' | 'I3' | 'I4' | 'I5';

/** A promise that was broken; `what` holds counts and places, never a value. */
export interface Breach {
  readonly invariant: Invariant;
  readonly what: string;
}

const BATCH = 1_000;

/** I1 and I2: every acknowledged token is revealed again, and compared. Items that fail with one of
 *  `named` are the server's honest word about a damaged record, and are counted, not breaches. */
export async function checkTokens(
  server: Server,
  account: Account,
  named: readonly string[] = [],
): Promise<{ breaches: Breach[]; resolved: number; named: number }> {
  const { acked, conflicts } = account.tokens();
  const breaches: Breach[] = [];
  if (conflicts > 0) breach(breaches, 'I2', `${conflicts} tokens were given for two values`);
  const connection = server.connect();
  const counts = { resolved: 0, named: 0 };
  const lost: Record<string, number> = {};
  let wrong = 0;
  for (const [domain, all] of Map.groupBy(acked, (one) => one.domain)) {
    for (let at = 0; at < all.length; at += BATCH) {
      const batch = all.slice(at, at + BATCH);
      const verdicts = await revealed(connection, domain, batch);
      for (const [i, verdict] of verdicts.entries()) {
        if (verdict.reason !== undefined) {
          if (named.includes(verdict.reason)) counts.named += 1;
          else lost[`${domain} ${verdict.reason}`] = (lost[`${domain} ${verdict.reason}`] ?? 0) + 1;
        } else if (verdict.value === batch[i]!.value) counts.resolved += 1;
        else wrong += 1;
      }
    }
  }
  for (const [why, count] of Object.entries(lost)) {
    breach(breaches, 'I1', `${count} acknowledged tokens do not resolve: ${why}`);
  }
  if (wrong > 0) breach(breaches, 'I2', `${wrong} tokens resolve to another value`);
  return { breaches, ...counts };
}

interface Verdict {
  readonly value?: string;
  readonly reason?: string;
}

async function revealed(
  connection: ReturnType<Server['connect']>,
  domain: string,
  batch: readonly Acked[],
): Promise<Verdict[]> {
  const ask = {
    id: 0,
    verb: 'detokenize',
    domain,
    items: batch.map(({ token }) => token),
    purpose: 'TREAT',
    requestId: '',
    target: '',
  } as const;
  const { outputs, errors } = await perform(connection, ask, { deadlineMs: 60_000 });
  const reasons = new Map(errors.map(({ index, reason }) => [index, reason]));
  return batch.map((_, i) => {
    const reason = reasons.get(i);
    return reason === undefined ? { value: outputs[i] ?? '' } : { reason };
  });
}

/** I3 and I4: every receipt's leaf is in the log under a signed checkpoint by an inclusion proof,
 *  every checkpoint seen before is a beginning of the last one, and the log's own check is silent.
 *  Works beside a running server, and waits until a checkpoint covers the last receipt. */
export async function checkLog(
  folder: string,
  verifier: string,
  account: Account,
): Promise<Breach[]> {
  const breaches: Breach[] = [];
  const needed = Math.max(-1, ...account.acks.map(({ leaf }) => leaf)) + 1;
  const head = await headOf(folder, verifier, needed);
  const nodes = new TileStore(new Disk(folder)).nodes(head.size);
  const prove = async (leaf: number, hash: string): Promise<boolean> => {
    if (leaf < 0 || leaf >= head.size) return false;
    // A tile that is missing or damaged proves nothing.
    const path = await inclusionProof(leaf, head.size, nodes).catch(() => undefined);
    if (path === undefined) return false;
    return verifyInclusion(leaf, head.size, Buffer.from(hash, 'hex'), path, head.root);
  };
  let unproven = 0;
  for (const { leaf, hash } of account.acks) if (!(await prove(leaf, hash))) unproven += 1;
  if (unproven > 0) breach(breaches, 'I3', `${unproven} receipts have no leaf that is proven`);
  for (const text of account.checkpoints) {
    const old = seen(text, verifier);
    if (old === undefined) breach(breaches, 'I4', 'a checkpoint seen before is not of this log');
    else if (!(await grew(old, head, nodes))) {
      breach(breaches, 'I4', `the log of ${head.size} did not grow from that of ${old.size}`);
    }
  }
  const report = await fsckLog(folder, verifier);
  if (!report.ok) {
    const { index, what } = report.findings[0]!;
    breach(breaches, 'I3', `log verify: leaf ${index}: ${what}`);
  }
  return breaches;
}

/** The published checkpoint, once it covers `size` leaves; the one there is after ten seconds. */
async function headOf(folder: string, verifier: string, size: number): Promise<Checkpoint> {
  const until = Date.now() + 10_000;
  for (;;) {
    const note = readFileSync(join(folder, 'checkpoint'));
    const head = openCheckpoint(note, parseVerifierKey(verifier));
    if (head.size >= size || Date.now() > until) return head;
    await pause(100);
  }
}

function seen(text: string, verifier: string): Checkpoint | undefined {
  try {
    return openCheckpoint(Buffer.from(text, 'utf8'), parseVerifierKey(verifier));
  } catch {
    return undefined;
  }
}

async function grew(
  old: Checkpoint,
  head: Checkpoint,
  nodes: ReturnType<TileStore['nodes']>,
): Promise<boolean> {
  if (old.size === 0) return true;
  if (old.size > head.size) return false;
  const path = await consistencyProof(old.size, head.size, nodes).catch(() => undefined);
  if (path === undefined) return false;
  return verifyConsistency(old.size, head.size, old.root, head.root, path);
}

/** I5: no value that was sent stands in any of these files, folders or texts. Values that could be
 *  there by chance, nine digits, are not looked for. */
export function checkCanaries(
  places: readonly string[],
  texts: readonly string[],
  account: Account,
): Breach[] {
  const needles = needlesOf(account);
  const breaches: Breach[] = [];
  const look = (bytes: Buffer, name: string): void => {
    const found = needles.filter((needle) => bytes.includes(needle)).length;
    if (found > 0) breach(breaches, 'I5', `${found} values in ${name}`);
  };
  for (const place of places) {
    for (const file of filesUnder(place)) {
      const bytes = readIfThere(file);
      if (bytes !== undefined) look(bytes, file.slice(place.length));
    }
  }
  for (const [i, text] of texts.entries()) look(Buffer.from(text), `text ${i}`);
  return breaches;
}

/** A server at work renames its temporary files. */
function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const SSNS_MAX = 500;

function needlesOf(account: Account): Buffer[] {
  const forms = (text: string): Buffer[] => [
    Buffer.from(text, 'utf8'),
    Buffer.from(text, 'utf16le'),
    Buffer.from(Buffer.from(text).toString('hex')),
  ];
  const ssns = new Set<string>();
  for (const { domain, value } of account.tokens().acked) if (domain === STATIC) ssns.add(value);
  // Base64 of a text depends on where it begins: three beginnings, their edges cut off.
  const base64 = [0, 1, 2].map((shift) =>
    Buffer.from(
      Buffer.from(' '.repeat(shift) + CANARY)
        .toString('base64')
        .slice(4, 24),
    ),
  );
  const some = [...ssns].slice(-SSNS_MAX).map((value) => Buffer.from(value, 'utf8'));
  return [...forms(CANARY), ...base64, ...some];
}

function filesUnder(place: string): string[] {
  if (statSync(place, { throwIfNoEntry: false })?.isFile() === true) return [place];
  return readdirSync(place, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function breach(breaches: Breach[], invariant: Invariant, what: string): void {
  breaches.push({ invariant, what });
}
