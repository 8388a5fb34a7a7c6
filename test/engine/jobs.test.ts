import { describe, expect, test } from 'vitest';
import { type Column, columnOf, rowCount, stringsOf } from '../../src/base/column.ts';
import type { DomainSpec } from '../../src/base/domain.ts';
import { defaultsFor } from '../../src/codec/domain-check.ts';
import type { EncodeJob, Job } from '../../src/engine/job.ts';
import { isFailure } from '../../src/engine/job.ts';
import { JobRunner } from '../../src/engine/jobs/runner.ts';
import { KeyRing } from '../../src/engine/key-ring.ts';
import { insecureMemoryModule } from '../../src/keys/insecure-memory.ts';
import { type BlockKey, type KeyModule, ModuleError } from '../../src/keys/key.ts';

/** Calls into the module by role of the key; `fail` makes the next call of a role fail. */
class Calls {
  readonly byRole = new Map<string, number>();
  fail: string | undefined;

  get total(): number {
    return [...this.byRole.values()].reduce((sum, count) => sum + count, 0);
  }

  of(id: string): void {
    const role = id.split('.').at(-2)!;
    this.byRole.set(role, (this.byRole.get(role) ?? 0) + 1);
    if (this.fail === role) throw new ModuleError('CKR_DEVICE_ERROR');
  }
}

function counted(calls: Calls): KeyModule {
  const inner = insecureMemoryModule();
  const wrap = (key: BlockKey): BlockKey => ({
    id: key.id,
    blocksMax: key.blocksMax,
    encryptBlocks(blocks) {
      calls.of(key.id);
      key.encryptBlocks(blocks);
    },
  });
  return {
    description: '',
    generateWrapped(root, id) {
      const { blob, key } = inner.generateWrapped(root, id);
      return { blob, key: wrap(key) };
    },
    unwrap: (root, id, blob) => wrap(inner.unwrap(root, id, blob)),
    sign: (label, message) => inner.sign(label, message),
    publicKey: (label) => inner.publicKey(label),
    keepsData: inner.keepsData,
    readData: (label) => inner.readData(label),
    replaceData: (label, change) => inner.replaceData(label, change),
    close: () => inner.close(),
  };
}

const spec = (id: string, kind: DomainSpec['kind'], format: string): DomainSpec =>
  defaultsFor({ id: `clinic/${id}`, kind, format, safety: 'valid', note: 'x' }, 0);
const printed = (id: string, kind: DomainSpec['kind'], format: string): DomainSpec =>
  defaultsFor({ id: `clinic/${id}`, kind, format }, 0);

function open() {
  const calls = new Calls();
  const ring = KeyRing.make(counted(calls), 'root');
  ring.put(spec('account', 'fpe', 'digits:9'));
  ring.put(spec('other', 'fpe', 'digits:9'));
  ring.put(printed('note', 'siv', 'text'));
  ring.put(printed('visit', 'static', 'digits:9'));
  const runner = new JobRunner(ring);
  /** Answers of `jobs`, and the calls that they took. */
  const run = (jobs: readonly Job[]) => {
    calls.byRole.clear();
    const results = runner.run(jobs);
    return { results, calls: Object.fromEntries(calls.byRole), total: calls.total };
  };
  return { run, runner, calls };
}

const encode = (domain: string, values: readonly string[], more = {}): EncodeJob => ({
  op: 'encode',
  domain: `clinic/${domain}`,
  values: columnOf(values),
  context: undefined,
  subject: undefined,
  delivery: 'best-effort',
  seal: false,
  ...more,
});

const numbers = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, i) => String(100_000_000 + from + i));

const columnIn = (result: object): Column => {
  if (isFailure(result) || !('column' in result)) throw new Error('the job failed');
  return result.column as Column;
};

describe('calls into the module', () => {
  test('a batch of FF1 of nine digits is 11 calls, of whatever size', () => {
    const { run } = open();
    for (const count of [1, 1_000, 8_000]) {
      expect(run([encode('account', numbers(count))]).calls).toEqual({ fpe: 11 });
    }
  });

  test('and so are 64 calls that were joined, with one batch for their log bodies', () => {
    const { run } = open();
    const batches = Array.from({ length: 64 }, (_, i) => numbers(1 + (i % 3), i * 10));
    const alone = batches.map((values) =>
      stringsOf(columnIn(run([encode('account', values)]).results[0]!)),
    );
    const joined = run(batches.map((values) => encode('account', values)));
    expect(joined.calls).toEqual({ fpe: 11 });
    expect(joined.results.map((result) => stringsOf(columnIn(result)))).toEqual(alone);
    const one = run([encode('account', numbers(1), { seal: true })]);
    const sealed = run(batches.map((values) => encode('account', values, { seal: true })));
    expect(sealed.calls['fpe']).toBe(11);
    expect(sealed.total).toBeLessThanOrEqual(one.total + 2);
  });

  test('two domains in one message are two batches', () => {
    const { run } = open();
    const jobs = Array.from({ length: 10 }, (_, i) =>
      encode(i % 2 ? 'account' : 'other', numbers(2)),
    );
    expect(run(jobs).calls).toEqual({ fpe: 22 });
  });

  test('joined calls of SIV and of the vault take no more calls than one of them', () => {
    const { run } = open();
    const siv = (count: number): Job[] =>
      Array.from({ length: count }, (_, i) => encode('note', [`text ${i}`, 'equal']));
    const index = (count: number): Job[] =>
      Array.from({ length: count }, (_, i) => ({
        ...encode('visit', numbers(3, i)),
        op: 'index',
        idem: undefined,
      }));
    for (const jobs of [siv, index]) {
      run(jobs(1));
      expect(run(jobs(50)).total).toBe(run(jobs(1)).total);
    }
  });

  test('a batch that repeats a value works on it once', () => {
    const { run } = open();
    const values = Array.from({ length: 9_000 }, (_, i) => numbers(100)[i % 100]!);
    const { results, calls } = run([encode('account', values)]);
    expect(calls).toEqual({ fpe: 11 });
    expect(results[0]).toMatchObject({ distinct: 100 });
    expect(rowCount(columnIn(results[0]!))).toBe(9_000);
  });
});

describe('joined calls', () => {
  const text = (value: string): Uint8Array => Buffer.from(value);

  test('keep their own contexts, subjects, errors, deliveries and counts', () => {
    const { run } = open();
    const jobs = [
      encode('account', ['123456789', 'bad', '123456789']),
      encode('account', ['123456789'], { context: text('ward') }),
      encode('account', ['bad', '123456789'], { delivery: 'ordered-stop' }),
      encode('account', ['123456789', '123456789'], { subject: columnOf(['anna', 'ben']) }),
      encode('account', ['123456789', '111111111', 'bad', '1'], { delivery: 'ordered-stop' }),
      encode('account', ['123456789', '111111111'], { context: columnOf(['ward', '']) }),
    ];
    const alone = jobs.map((job) => run([job]).results[0]!);
    const joined = run(jobs).results;
    const shown = (result: object) => ({
      ...(result as { errors: unknown; distinct: number }),
      column: stringsOf(columnIn(result)),
    });
    expect(joined.map(shown)).toEqual(alone.map(shown));
    expect(shown(joined[2]!)).toMatchObject({ column: [], errors: [{ index: 0 }] });
    expect(shown(joined[4]!)).toMatchObject({ errors: [{ index: 2 }] });
  });

  test('of the vault count their distinct items alike, joined or alone', () => {
    const { run } = open();
    const jobs = [
      encode('visit', ['123456789', '123456789', '111111111']),
      encode('visit', ['123456789', '123456789'], { subject: columnOf(['anna', 'ben']) }),
      encode('visit', ['123456789', '123456789'], { context: text('ward') }),
    ].map((job): Job => ({ ...job, op: 'index', idem: undefined }));
    const distinct = (result: object) => (result as { distinct: number }).distinct;
    const alone = jobs.map((job) => distinct(run([job]).results[0]!));
    expect(alone).toEqual([2, 2, 1]);
    expect(run(jobs).results.map(distinct)).toEqual(alone);
  });

  test('fail by group: a key in trouble fails its own jobs', () => {
    const { run, calls } = open();
    calls.fail = 'siv-mac';
    const { results } = run([encode('account', numbers(1)), encode('note', ['x'])]);
    expect(isFailure(results[0]!)).toBe(false);
    expect(results[1]).toEqual({ failed: 'MODULE_UNAVAILABLE', detail: 'CKR_DEVICE_ERROR' });
  });

  test('and nothing leaves without its body', () => {
    const { run, calls } = open();
    calls.fail = 'body-mac';
    const { results } = run([
      encode('account', numbers(1), { seal: true }),
      encode('note', ['x'], { seal: true }),
    ]);
    expect(results.map((result) => isFailure(result))).toEqual([true, true]);
  });
});
