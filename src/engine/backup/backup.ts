import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CallError } from '../../base/call-error.ts';
import type { Caller } from '../../base/caller.ts';
import type { Copy } from '../../vault/copies.ts';
import type { Receipt } from '../calls.ts';
import { fieldInvalid } from '../domain-admin.ts';
import { vaultIndexOf } from '../domain-table.ts';
import type { CatalogueState } from '../job.ts';
import type { JobControl } from '../job-book.ts';
import type { Parts } from '../parts.ts';
import { commitLeaf, plainEntry } from '../receipts.ts';
import { startOnce } from '../start-once.ts';
import { ulid } from '../ulid.ts';
import type { BackupRequest, JobView } from '../vault-calls.ts';
import { isRecipient } from './age.ts';
import { FRAME, frameOf, MAGIC, RowFramer } from './frames.ts';
import { encodeManifest, type ManifestHead, signedText } from './manifest.ts';
import { BackupWriter } from './writer.ts';

const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9.-]{0,100}$/;
const RECIPIENTS_MAX = 20;
/** A backup under way; no name of this form can be asked for. */
const TEMPORARY = /^\.[A-Za-z0-9.-]+\.partial$/;

/** Checks the request, logs it, and starts the job. The file is made with mode 0600, is durable
 *  before it gets its name, and never replaces one. Rejects with `CallError`: FIELD_INVALID,
 *  RESOURCE_EXISTS. */
export async function startBackup(
  parts: Parts,
  caller: Caller,
  request: BackupRequest,
): Promise<{ readonly job: JobView; readonly receipt: Receipt }> {
  checkRequest(request);
  const { file, recipients, classic, requestId } = request;
  const call = { caller, method: 'BackUpVault', requestId, message: { file, recipients, classic } };
  const log = async (): Promise<Receipt> => {
    if (existsSync(join(parts.folders.backups, file))) throw new CallError('RESOURCE_EXISTS');
    const extra = { file, recipients: recipients.length, classic: classic ? 1 : 0 };
    return commitLeaf(parts, {
      entry: plainEntry(parts, caller, 'BackUpVault', '', { done: 1, failed: 0, extra }),
      body: undefined,
    });
  };
  return startOnce(parts, call, log, (by) =>
    parts.jobs.start('backup', 'vault', (control) => backUp(parts, request, control), by),
  );
}

function checkRequest({ file, recipients, classic }: BackupRequest): void {
  if (!FILE_NAME.test(file)) {
    throw fieldInvalid('file', 'must be a name of letters, digits, dots and hyphens');
  }
  if (recipients.length === 0) throw new CallError('FIELD_REQUIRED');
  if (recipients.length > RECIPIENTS_MAX) {
    throw fieldInvalid('recipients', `must be at most ${RECIPIENTS_MAX}`);
  }
  for (const [i, recipient] of recipients.entries()) {
    if (isRecipient(recipient, classic)) continue;
    const text = classic ? 'must be age1pq… or age1…' : 'must be age1pq…, or classic be set';
    throw fieldInvalid(`recipients[${i}]`, text);
  }
}

/** The job: one copy of the vault, row by row, into one file. */
async function backUp(
  parts: Parts,
  { file, recipients }: BackupRequest,
  control: JobControl,
): Promise<void> {
  const { backups } = parts.folders;
  const id = ulid(parts.clock.nowMs());
  control.result('file', file);
  control.result('backup', id);
  makeFolder(backups);
  // The log first, then the catalogue, then the rows: so every leaf that the manifest covers has
  // its rows in here, and the rows know every domain of the catalogue.
  await parts.log.flush();
  const log = parts.log.head();
  const catalogue = parts.keeper.state;
  const copy = await parts.vault.copies.take();
  const temporary = join(backups, `.${file}.partial`);
  const writer = new BackupWriter({ recipients, temporary, path: join(backups, file) });
  try {
    const head = headOf(parts, id, catalogue, copy, log);
    await writer.send(Uint8Array.from(MAGIC));
    await writer.send(own(frameOf(FRAME.head, encodeManifest(head))));
    await writer.send(own(frameOf(FRAME.catalogue, Buffer.from(catalogue.text, 'utf8'))));
    const fileBytes = await writeRows(parts, head, copy, writer, control);
    control.result('bytes', String(fileBytes));
  } catch (error) {
    await writer.abort();
    throw error;
  } finally {
    await copy.close();
  }
}

/** What a crash left is removed: one backup runs at a time. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(folder)) {
      if (TEMPORARY.test(name)) rmSync(join(folder, name));
    }
  } catch (cause) {
    throw new CallError('STORE_UNAVAILABLE', { cause });
  }
}

const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => Uint8Array.from(bytes);

function headOf(
  parts: Parts,
  backup: string,
  catalogue: CatalogueState,
  copy: Copy,
  log: { readonly size: number; readonly checkpoint: string },
): ManifestHead {
  const { origin, publicKey, module } = parts.identity;
  return {
    format: 1,
    backup,
    installation: catalogue.installation,
    origin,
    publicKey: Buffer.from(publicKey).toString('base64'),
    createdMs: parts.clock.nowMs(),
    module,
    commit: copy.head.commit,
    group: copy.head.group,
    checkpoint: log.checkpoint,
    logSize: log.size,
    epoch: parts.vault.continuity.epoch,
    catalogueGeneration: catalogue.generation,
    catalogueHash: catalogue.hash,
  };
}

async function writeRows(
  parts: Parts,
  head: ManifestHead,
  copy: Copy,
  writer: BackupWriter,
  { progress, result, signal }: JobControl,
): Promise<number> {
  const framer = new RowFramer();
  const expected = expectedRows(parts);
  for await (const page of copy.pages()) {
    signal.throwIfAborted();
    for (const frame of framer.add(page)) await writer.send(frame);
    progress(framer.counts.rows, Math.max(expected, framer.counts.rows));
  }
  for (const frame of framer.end()) await writer.send(frame);
  const { rows, records } = framer.counts;
  const sha256 = await writer.digest();
  const tail = { rows, records, sha256 };
  await writer.send(own(frameOf(FRAME.tail, encodeManifest(tail))));
  const message = signedText(head.origin, await writer.digest());
  const signature = await parts.lane.control({ control: 'sign', message });
  signal.throwIfAborted();
  const fileBytes = await writer.end(own(frameOf(FRAME.signature, signature)));
  progress(rows, rows);
  result('rows', String(rows));
  result('records', String(Object.values(records).reduce((sum, count) => sum + count, 0)));
  result('sha256', sha256);
  return fileBytes;
}

/** For the progress alone: what the running numbers tell. */
function expectedRows({ domains, vault }: Parts): number {
  let rows = 0;
  for (const { spec } of domains.all()) {
    const index = vaultIndexOf(spec);
    if (index !== undefined) rows += vault.liveCount(spec.id) * (index === 'none' ? 1 : 2);
  }
  return rows;
}
