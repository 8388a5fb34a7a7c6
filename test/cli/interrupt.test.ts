import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Harness, startHarness } from '../rpc/harness.ts';
import { lockstep, type Ran } from './process.ts';

let server: Harness;
const folder = mkdtempSync(join(tmpdir(), 'lockstep-cli-interrupt-'));
beforeAll(async () => {
  server = await startHarness();
});
afterEach(() => {
  server.engine.before = () => Promise.resolve();
  server.engine.calls.length = 0;
  server.engine.jobs.clear();
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const ask = (argv: readonly string[], options: Parameters<typeof lockstep>[1] = {}): Promise<Ran> =>
  lockstep(argv, { env: { LOCKSTEP_ADDRESS: server.address }, ...options });
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const interrupt = (): boolean => process.emit('SIGINT');

describe('Ctrl-C', () => {
  test('during an erasure waits for it, and loses neither leaf nor certificate', async () => {
    let calls = 0;
    server.engine.before = async () => {
      if (++calls === 2) interrupt();
      await sleep(50);
    };
    const certificate = join(folder, 'erased.note');
    const tokens = join(folder, 'tokens.txt');
    writeFileSync(tokens, 'T\n'.repeat(30_000));
    const ran = await ask([
      ...['erase', '--domain', 'clinic/ssn', '--purpose', 'PATRQT', '--yes', '--file', tokens],
      ...['--certificate', certificate],
    ]);
    expect(ran.code).toBe(130);
    expect(ran.out).toMatch(/^20000 tokens erased; leaves \d+, \d+\n$/);
    expect(ran.err).toBe('lockstep: stopped\n');
    expect([certificate, `${certificate}.2`, `${certificate}.3`].map(existsSync)).toEqual([
      true,
      true,
      false,
    ]);
    expect(calls).toBe(2);
  });

  test('during an import tells how to go on, and what is told was answered', async () => {
    const csv = join(folder, 'pairs.csv');
    const rows = Array.from({ length: 20_000 }, (_, i) => `M${i},T${i}\n`);
    writeFileSync(csv, `value,token\n${rows.join('')}`);
    const position = join(folder, 'position.json');
    server.engine.started = 0;
    let answered = 0;
    server.engine.before = async () => {
      if (server.engine.started === 6) interrupt();
      await sleep(5);
      answered++;
    };
    const ran = await ask([
      ...['import', '--domain', 'clinic/ssn', '--purpose', 'HOPERAT', csv],
      ...['--position', position],
    ]);
    expect(ran.code).toBe(130);
    const { rows: done } = JSON.parse(readFileSync(position, 'utf8')) as { rows: number };
    expect(ran.err).toBe(
      `lockstep: ${done} rows are done; the same again goes on\nlockstep: stopped\n`,
    );
    expect(done % 1_000).toBe(0);
    expect(done).toBeLessThanOrEqual(answered * 1_000);
    expect(server.engine.started).toBeLessThan(20);
  });

  test('during an export tells the row that stdout ends with', async () => {
    server.engine.exportBatches = 1_000_000;
    const stdout = new PassThrough();
    let text = '';
    let rows = 0;
    stdout.on('data', (part: Buffer) => {
      text += part.toString('utf8');
      if (++rows === 20) interrupt();
    });
    const ran = await ask(['export', '--domain', 'clinic/ssn', '--purpose', 'HOPERAT'], {
      stdout,
    });
    expect(ran.code).toBe(130);
    const row = Number(
      /^lockstep: go on with --after (\d+)\nlockstep: stopped\n$/.exec(ran.err)?.[1],
    );
    const last = text.trim().split('\n').at(-1);
    expect(last).toBe(`value${row - 1},T${row - 1}`);
    expect(row).toBeGreaterThanOrEqual(19);
    await expect.poll(() => server.server.active()).toBe(0);
  });

  test('while a job is followed ends the watching alone', async () => {
    const watching = ask(['vault', 'check']);
    await expect.poll(() => server.engine.jobs.size).toBe(1);
    await sleep(50);
    interrupt();
    expect(await watching).toEqual({
      code: 130,
      out: '',
      err: 'lockstep: the job goes on; see `lockstep job watch check`\nlockstep: stopped\n',
    });
    expect(server.engine.jobs.get('check')?.state).toBe('running');
  });
});

test('who does not read an export any more stops it', async () => {
  server.engine.exportBatches = 1_000_000;
  const stdout = new PassThrough();
  stdout.once('data', () => stdout.destroy(new Error('EPIPE')));
  const ran = await ask(['export', '--domain', 'clinic/ssn', '--purpose', 'HOPERAT'], { stdout });
  expect(ran.code).toBe(1);
  await expect.poll(() => server.server.active()).toBe(0);
});
