import { rmSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogOptions } from '../../audit/log.ts';
import type { Clock } from '../../base/clock.ts';
import { writeFileAtomic } from '../../keys/catalogue-file.ts';
import { openLevelStore } from '../../storage/level-store.ts';
import { BALLAST_FILE } from '../../storage/space.ts';
import type { Store } from '../../storage/store.ts';
import { verifyCertificate } from '../certificate.ts';
import type { Ready } from '../job.ts';
import type { KeyLane } from '../key-lane.ts';
import { addMissingDomains } from './added-domains.ts';
import { BackupError } from './backup-error.ts';
import type { ManifestHead, ManifestTail } from './manifest.ts';
import { type BackupReader, openBackup } from './reader.ts';
import { beginLog, copyLog, proveLog, sync } from './restore-log.ts';
import { type ModuleOptions, openRestoreModule } from './restore-module.ts';
import { finalChanges, type LoadOptions, loadRows, type RestoreState } from './restore-rows.ts';
import { checkSigner } from './verify.ts';

export interface RestoreOptions extends LoadOptions, ModuleOptions {
  readonly file: string;
  readonly identities: readonly string[];
  /** The data folder: absent, or empty but for `backups` and the ballast. */
  readonly folder: string;
  readonly origin: string;
  readonly clock: Clock;
  readonly log:
    | { readonly kind: 'kept'; readonly folder: string }
    | {
        readonly kind: 'lost';
        /** Why an officer goes on without it; at most 500 bytes. */
        readonly note: string;
        readonly certificates: readonly string[];
      };
  /** The installation's own catalogue.json, where it outlived the vault: the newer one counts. */
  readonly catalogue?: Uint8Array | undefined;
  /** The public key that must have signed the backup; needed where the module has another one. */
  readonly signer?: Uint8Array | undefined;
}

export interface Restored {
  readonly head: ManifestHead;
  readonly tail: ManifestTail;
  /** The module signs the log with another key from now on. */
  readonly newSigner: boolean;
}

/** Present while a restore is under way, and after one that did not end. */
export const UNFINISHED = 'restore.unfinished';
const WRITTEN = ['vault', 'log', 'catalogue.json', 'catalogue.json.new', UNFINISHED] as const;

/** Restores a backup into an empty folder, offline. First the module proves that it has the root,
 *  then the log that it is the right one; only then are rows written, and the catalogue, which
 *  makes an installation of the folder, comes last. On any failure what was written is removed. The
 *  next open finishes the work, see finish-restore.ts. Rejects with `BackupError`, `CallError` (the
 *  module), `StoreError`, or the signal's reason. */
export async function restoreBackup(options: RestoreOptions): Promise<Restored> {
  await refuseUsed(options.folder);
  const reader = await openBackup(options.file, options.identities);
  try {
    checkSigner(reader, options.signer);
    if (options.log.kind === 'kept' && options.origin !== reader.head.origin) {
      throw new BackupError('origin-differs');
    }
    const { lane, ready } = await openRestoreModule(options, newerCatalogue(options, reader));
    try {
      const newSigner = checkModule(options, reader, ready);
      if (options.log.kind === 'kept') await proveLog(options.log.folder, reader.head);
      else checkCertificates(options.log.certificates, reader.head);
      options.signal?.throwIfAborted();
      const tail = await write(options, reader, lane, ready);
      return { head: reader.head, tail, newSigner };
    } finally {
      await lane.close();
    }
  } finally {
    await reader.close();
  }
}

async function refuseUsed(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const used = names.filter((name) => name !== 'backups' && name !== BALLAST_FILE);
  if (used.length > 0) throw new BackupError('folder-in-use');
}

/** The one given, where it is newer than the backup's. What it says is believed once it has opened
 *  under the module's keys. */
function newerCatalogue({ catalogue }: RestoreOptions, reader: BackupReader): Uint8Array {
  if (catalogue === undefined) return reader.catalogue;
  let generation: unknown;
  try {
    const parsed = JSON.parse(Buffer.from(catalogue).toString('utf8')) as {
      readonly catalogue?: { readonly generation?: unknown };
    };
    generation = parsed.catalogue?.generation;
  } catch (cause) {
    throw new BackupError('catalogue-differs', cause);
  }
  return Number(generation) > reader.head.catalogueGeneration ? catalogue : reader.catalogue;
}

/** Whether the module signs with another key than the backup's. Then its own says nothing of whose
 *  backup this is, and the officer must. */
function checkModule(options: RestoreOptions, { head }: BackupReader, ready: Ready): boolean {
  const { installation, generation, hash } = ready.catalogue;
  const older = generation < head.catalogueGeneration;
  const other = generation === head.catalogueGeneration && hash !== head.catalogueHash;
  if (installation !== head.installation || older || other) {
    throw new BackupError('catalogue-differs');
  }
  const newSigner = !Buffer.from(head.publicKey, 'base64').equals(ready.publicKey);
  if (newSigner && options.signer === undefined) throw new BackupError('signer-unknown');
  return newSigner;
}

/** Those that would not hold when the restore is finished are refused before it is begun. */
function checkCertificates(certificates: readonly string[], head: ManifestHead): void {
  for (const text of certificates) {
    let whole: boolean;
    try {
      const publicKey = Buffer.from(head.publicKey, 'base64');
      const { installation, leaves } = verifyCertificate(text, head.origin, publicKey);
      whole = installation === head.installation && leaves.every(({ body }) => body !== undefined);
    } catch (cause) {
      throw new BackupError('certificate-invalid', cause);
    }
    if (!whole) throw new BackupError('certificate-invalid');
  }
}

async function write(
  options: RestoreOptions,
  reader: BackupReader,
  lane: KeyLane,
  ready: Ready,
): Promise<ManifestTail> {
  const { folder } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, UNFINISHED), '', { mode: 0o600 });
  await sync(folder);
  try {
    await restoreLog(options, reader.head, lane, ready);
    const tail = await restoreVault(options, reader, ready);
    writeFileAtomic(join(folder, 'catalogue.json'), Buffer.from(ready.catalogue.text, 'utf8'));
    rmSync(join(folder, UNFINISHED));
    await sync(folder);
    return tail;
  } catch (error) {
    for (const name of WRITTEN) await rm(join(folder, name), { recursive: true, force: true });
    throw error;
  }
}

async function restoreLog(
  { folder, origin, clock, log }: RestoreOptions,
  head: ManifestHead,
  lane: KeyLane,
  { publicKey, catalogue }: Ready,
): Promise<void> {
  const options: LogOptions = {
    folder: join(folder, 'log'),
    origin,
    sign: (message) => lane.control({ control: 'sign', message }),
    publicKey,
    clock,
  };
  if (log.kind === 'lost') return beginLog(head, log.note, clock.nowMs(), options);
  const named = await copyLog(log.folder, head, options);
  if (named === undefined || named.generation < catalogue.generation) return;
  if (named.hash !== catalogue.hash) throw new BackupError('catalogue-older');
}

async function restoreVault(
  options: RestoreOptions,
  reader: BackupReader,
  { catalogue }: Ready,
): Promise<ManifestTail> {
  const { head } = reader;
  const store = await openLevelStore({ folder: join(options.folder, 'vault'), create: true });
  try {
    const tail = await loadRows(reader, store, options);
    const { log } = options;
    const state: RestoreState = {
      backup: head.backup,
      createdMs: head.createdMs,
      logSize: log.kind === 'kept' ? head.logSize : 0,
      commit: head.commit,
      log: log.kind,
      certificates: log.kind === 'kept' ? [] : log.certificates,
      origin: head.origin,
      publicKey: head.publicKey,
      catalogueGeneration: catalogue.generation,
      catalogueHash: catalogue.hash,
    };
    await store.write([
      ...finalChanges(store, state),
      ...(await addMissingDomains(store, catalogue)),
    ]);
    return tail;
  } finally {
    await closeQuietly(store);
  }
}

/** What goes wrong while closing is not the reason that the officer needs; all rows are synced. */
const closeQuietly = (store: Store): Promise<void> => store.close().catch(() => {});
