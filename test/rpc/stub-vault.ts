import { CallError } from '../../src/base/call-error.ts';
import { columnOf, rowCount, stringsOf } from '../../src/base/column.ts';
import { Plain } from '../../src/base/plain.ts';
import type { ItemError } from '../../src/base/reason.ts';
import type { CallBase, Receipt } from '../../src/engine/calls.ts';
import type {
  ExportBatch,
  JobView,
  TargetAnswer,
  TargetCall,
  VaultVerbs,
  VaultView,
} from '../../src/engine/vault-calls.ts';

/** The verbs on records and the vault, for tests of the edge: each remembers its call, and answers
 *  what tests can tell apart. `bad` in an item is an item error. */
export class StubVault implements VaultVerbs {
  readonly calls: unknown[] = [];
  /** Awaited by every call on a batch; tests put a delay here, or a failure. */
  before: (call: CallBase) => Promise<void> = () => Promise.resolve();
  started = 0;
  readonly jobs = new Map<string, JobView>();
  /** What an export gives; each `next` is counted in `exported`. */
  exportBatches = 0;
  exportValue = 'value';
  exported = 0;
  /** Generators that were closed or ran out. */
  closed = 0;
  #leaf = 0;

  receipt(): Receipt {
    return {
      leafIndex: this.#leaf++,
      leafHash: new Uint8Array(32).fill(1),
      salt: new Uint8Array(32).fill(2),
    };
  }

  async remember(call: CallBase): Promise<void> {
    this.calls.push(call);
    this.started++;
    await this.before(call);
  }

  tokenizeMultiple: VaultVerbs['tokenizeMultiple'] = async (call) => {
    await this.remember(call);
    const errors: ItemError[] = [];
    const tokens: string[] = [];
    const counts = stringsOf(call.values.reveal()).map((value, index) => {
      if (value.includes('bad')) {
        errors.push({ index, reason: 'ANSWER_TOO_LARGE' });
        return 0;
      }
      const count = call.count === 0 ? 1 : call.count;
      for (let i = 0; i < count; i++) tokens.push(`${value}.${i}`);
      return count;
    });
    return {
      tokens: columnOf(tokens),
      counts: Uint32Array.from(counts),
      errors,
      receipt: this.receipt(),
      keyVersion: 3,
      notices: [{ reason: 'VALUE_OPAQUE', indexes: [0] }],
    };
  };

  async #target(call: TargetCall): Promise<TargetAnswer> {
    await this.remember(call);
    const { items } = call;
    if (items.by === 'subject') {
      return { counts: Uint32Array.of(7), errors: [], receipt: this.receipt() };
    }
    const rows = stringsOf(items.by === 'tokens' ? items.tokens : items.values.reveal());
    const errors = rows.flatMap((row, index): ItemError[] =>
      row.includes('bad') ? [{ index, reason: 'TOKEN_NOT_FOUND' }] : [],
    );
    const counts = Uint32Array.from(rows, (row) => (row.includes('bad') ? 0 : 1));
    return { counts, errors, receipt: this.receipt() };
  }

  restrict: VaultVerbs['restrict'] = (call) => this.#target(call);
  erase: VaultVerbs['erase'] = async (call) => ({
    ...(await this.#target(call)),
    certificate: 'erased\n\n— note\n',
  });

  listSubjectTokens: VaultVerbs['listSubjectTokens'] = async (call) => {
    await this.remember(call);
    const from = call.after === '' ? 0 : Number(call.after.slice(2));
    const to = Math.min(5, from + call.limit);
    const rows = Array.from({ length: to - from }, (_, i) => String(from + i));
    return {
      domains: rows.map((i) => `clinic/d${i}`),
      tokens: columnOf(rows.map((i) => `T${i}`)),
      states: rows.map(() => 'live' as const),
      next: to === 5 ? '' : `a:${to}`,
      receipt: this.receipt(),
    };
  };

  mergeSubjects: VaultVerbs['mergeSubjects'] = async (call) => {
    this.calls.push(call);
    return { merge: '01MERGE', moved: 2, receipt: this.receipt() };
  };
  unmergeSubjects: VaultVerbs['unmergeSubjects'] = async (...call) => {
    this.calls.push(call);
    return { moved: 2, receipt: this.receipt() };
  };

  importTokens: VaultVerbs['importTokens'] = async (call) => {
    await this.remember(call);
    const errors = stringsOf(call.tokens).flatMap((token, index): ItemError[] =>
      token.includes('bad') ? [{ index, reason: 'TOKEN_TAKEN' }] : [],
    );
    if (rowCount(call.tokens) !== call.values.length) throw new Error('columns differ');
    return { errors, receipt: this.receipt() };
  };

  async *exportTokens(
    call: Parameters<VaultVerbs['exportTokens']>[0],
  ): AsyncGenerator<ExportBatch> {
    await this.remember(call);
    try {
      for (let i = call.after === '' ? 0 : Number(call.after); i < this.exportBatches; i++) {
        this.exported++;
        yield {
          values: new Plain(columnOf([`${this.exportValue}${i}`])),
          tokens: columnOf([`T${i}`]),
          row: String(i + 1),
          receipt: this.receipt(),
        };
      }
    } finally {
      this.closed++;
    }
  }

  vault: VaultView = {
    id: '01VAULT',
    state: 'low-space',
    epoch: 4,
    liveTokens: 1_000,
    logSize: 77,
    restoredFrom: '',
    erasuresReplayed: 0,
    checkedMs: 0,
    faults: 0,
    freeBytes: 2 ** 40,
  };
  getVault: VaultVerbs['getVault'] = async () => this.vault;

  #job(kind: JobView['kind'], id: string = kind): JobView {
    const job: JobView = {
      id,
      kind,
      target: 'vault',
      state: 'running',
      done: 1,
      total: 3,
      createdMs: 1_700_000_000_123,
      endedMs: 0,
      reason: undefined,
      result: {},
    };
    this.jobs.set(id, job);
    return job;
  }

  backUpVault: VaultVerbs['backUpVault'] = async (_caller, request) => {
    this.calls.push(request);
    return { job: this.#job('backup'), receipt: this.receipt() };
  };
  checkVault: VaultVerbs['checkVault'] = async (_caller, deep, requestId) => {
    this.calls.push({ deep, requestId });
    return this.#job('check');
  };
  compactVault: VaultVerbs['compactVault'] = async () => ({
    job: this.#job('compaction'),
    receipt: this.receipt(),
  });
  erasureCertificate: VaultVerbs['erasureCertificate'] = async (_caller, leafIndex) => {
    if (leafIndex !== 5) throw new CallError('RESOURCE_NOT_FOUND');
    return { certificate: 'gone\n\n— note\n', compacted: true };
  };

  getJob: VaultVerbs['getJob'] = async (_caller, id) => {
    const job = this.jobs.get(id);
    if (job === undefined) throw new CallError('RESOURCE_NOT_FOUND');
    return job;
  };
  listJobs: VaultVerbs['listJobs'] = async (_caller, target, after, limit) => {
    this.calls.push({ target, after, limit });
    return [...this.jobs.values()]
      .filter((job) => (target === '' || job.target === target) && (after === '' || job.id < after))
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit);
  };
  /** Ends once the job of that id is no longer at work; tests change it in `jobs`. */
  async *watchJob(...[caller, id]: Parameters<VaultVerbs['watchJob']>): AsyncGenerator<JobView> {
    try {
      for (let last: JobView | undefined; ; ) {
        const job = await this.getJob(caller, id);
        if (job !== last) yield job;
        last = job;
        if (job.state !== 'running') return;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    } finally {
      this.closed++;
    }
  }
  cancelJob: VaultVerbs['cancelJob'] = async (caller, id) => {
    const job = { ...(await this.getJob(caller, id)), state: 'cancelled' as const, endedMs: 9_000 };
    this.jobs.set(id, job);
    return job;
  };
}
