import assert from 'node:assert';
import { parentPort, workerData } from 'node:worker_threads';
import { CatalogueError } from '../keys/catalogue.ts';
import { insecureMemoryModule } from '../keys/insecure-memory.ts';
import { type KeyModule, ModuleError } from '../keys/key.ts';
import { openPkcs11Module } from '../keys/pkcs11.ts';
import { slowModule } from '../keys/slow-module.ts';
import { SubjectGroups } from '../vault/subject-groups.ts';
import { readHead, writeHead } from './head-object.ts';
import type {
  Control,
  ControlResult,
  FromWorker,
  JobFailure,
  ToWorker,
  WorkerStart,
} from './job.ts';
import { JobRunner } from './jobs/runner.ts';
import { AllSubjectFlags } from './jobs/subject-flags.ts';
import { KeyRing } from './key-ring.ts';
import { pack, unpack } from './pack.ts';

/** The key worker's thread: the module, the catalogue and the modes of operation, and nothing else.
 *  It is the one owner of the PKCS#11 module in the process. Everything here is synchronous. */
function main(): void {
  assert(parentPort !== null, 'the key worker runs in a thread of its own');
  const port = parentPort;
  const send = (message: FromWorker, given: ArrayBuffer[] = []): void =>
    port.postMessage(message, given);
  const start = workerData as WorkerStart;
  let worker: KeyWorker;
  try {
    worker = open(start);
  } catch (error) {
    send({ kind: 'refused', failure: refusalOf(error) });
    return;
  }
  try {
    send({
      kind: 'ready',
      ready: {
        catalogue: worker.ring.state(),
        publicKey: worker.module.publicKey(start.checkpointKey),
        module: worker.module.description,
      },
    });
  } catch (error) {
    // The module's state is the process's, not the thread's: left open it would stay logged in.
    worker.module.close();
    send({ kind: 'refused', failure: refusalOf(error) });
    return;
  }
  port.on('message', (message: ToWorker) => {
    if (message.kind === 'jobs') {
      const begun = performance.now();
      const results = pack(worker.runner.run(unpack(message.jobs)));
      const busyMs = performance.now() - begun;
      const { seq } = message;
      send({ kind: 'done', seq, results, busyMs, moduleCalls: worker.calls() }, [results.buffer]);
    } else if (message.kind === 'control') {
      send({ kind: 'control', seq: message.seq, result: worker.control(message.control) });
    } else {
      worker.module.close();
      port.close();
    }
  });
}

interface KeyWorker {
  readonly module: KeyModule;
  readonly ring: KeyRing;
  readonly runner: JobRunner;
  calls(): number;
  control(control: Control): ControlResult[keyof ControlResult] | JobFailure;
}

function open(start: WorkerStart): KeyWorker {
  const counter = { calls: 0 };
  const module = counted(openModule(start), counter);
  try {
    let ring = openRing(module, start.root, start.catalogue);
    const groups = new SubjectGroups();
    const flags = new AllSubjectFlags();
    let runner = new JobRunner(ring, groups, flags);
    const reopen = (next: KeyRing): ControlResult['reload'] => {
      ring = next;
      runner = new JobRunner(ring, groups, flags);
      return ring.state();
    };
    return {
      module,
      get ring() {
        return ring;
      },
      get runner() {
        return runner;
      },
      calls: () => counter.calls,
      control(control) {
        try {
          if (control.control === 'sign') return module.sign(start.checkpointKey, control.message);
          if (control.control === 'aliases') {
            if (control.whole) groups.clear();
            for (const group of control.groups) groups.set(group);
            return NO_BYTES;
          }
          if (control.control === 'subject-flags') {
            flags.setAll(control);
            return NO_BYTES;
          }
          if (control.control === 'reload') {
            return reopen(openRing(module, start.root, control.catalogue));
          }
          if (control.control === 'read-head') return readHead(module, ring);
          if (control.control === 'write-head') return writeHead(module, ring, control.head);
          ring.put(control.spec);
          return reopen(ring);
        } catch (error) {
          return refusalOf(error);
        }
      },
    };
  } catch (error) {
    module.close();
    throw error;
  }
}

const NO_BYTES = new Uint8Array(0);

function openModule({ module, moduleDelayMs }: WorkerStart): KeyModule {
  const opened =
    module.kind === 'pkcs11'
      ? openPkcs11Module(module)
      : insecureMemoryModule(module.seed === undefined ? {} : { seed: module.seed });
  return moduleDelayMs > 0 ? slowModule(opened, moduleDelayMs) : opened;
}

const openRing = (module: KeyModule, root: string, catalogue: string | undefined): KeyRing =>
  catalogue === undefined
    ? KeyRing.make(module, root)
    : KeyRing.open(module, root, Buffer.from(catalogue, 'utf8'));

/** Counts block calls, for the metrics. */
function counted(module: KeyModule, counter: { calls: number }): KeyModule {
  const wrap = (key: ReturnType<KeyModule['unwrap']>): ReturnType<KeyModule['unwrap']> => ({
    id: key.id,
    blocksMax: key.blocksMax,
    encryptBlocks(blocks) {
      counter.calls += 1;
      key.encryptBlocks(blocks);
    },
  });
  return {
    description: module.description,
    generateWrapped(root, id) {
      const { blob, key } = module.generateWrapped(root, id);
      return { blob, key: wrap(key) };
    },
    unwrap: (root, id, blob) => wrap(module.unwrap(root, id, blob)),
    sign: (label, message) => module.sign(label, message),
    publicKey: (label) => module.publicKey(label),
    keepsData: module.keepsData,
    readData: (label) => module.readData(label),
    replaceData: (label, change) => module.replaceData(label, change),
    close: () => module.close(),
  };
}

/** Why the worker cannot start or change: the text is a CKR name or ours, never input. */
function refusalOf(error: unknown): JobFailure {
  if (error instanceof ModuleError) return { failed: 'MODULE_UNAVAILABLE', detail: error.code };
  if (error instanceof CatalogueError) {
    return { failed: 'KEY_VERSION_UNUSABLE', detail: error.message };
  }
  if (error instanceof assert.AssertionError) throw error;
  return { failed: 'INTERNAL', detail: error instanceof Error ? error.name : 'unknown' };
}

main();
