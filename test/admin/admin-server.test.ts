import { type IncomingMessage, request } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { type AdminServer, openAdminServer, type Readiness } from '../../src/admin/admin-server.ts';
import { openScrape } from '../../src/admin/meter.ts';
import { openMetrics } from '../../src/base/metrics.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function start(ready: () => Readiness = () => ({ ready: true })) {
  const scrape = openScrape();
  const metrics = openMetrics(scrape.meter);
  const server = await openAdminServer({
    address: '127.0.0.1:0',
    ready,
    metrics: scrape.handle,
  });
  closers.push(
    () => server.close(),
    metrics.close,
    () => scrape.close(),
  );
  return { server, metrics };
}

function get(
  server: AdminServer,
  path: string,
  options: { method?: string; host?: string } = {},
): Promise<{ status: number; body: string }> {
  const [host, port] = server.address.split(':');
  return new Promise((resolve, reject) => {
    const headers = options.host === undefined ? {} : { host: options.host };
    const sent = request(
      { host, port, path, method: options.method ?? 'GET', headers },
      (answer: IncomingMessage) => {
        let body = '';
        answer.setEncoding('utf8').on('data', (part: string) => {
          body += part;
        });
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      },
    );
    sent.on('error', reject).end();
  });
}

describe('admin server', () => {
  test.each([
    '0.0.0.0:9464',
    '[::]:9464',
    'localhost:9464',
    '10.0.0.1:9464',
    '127.0.0.1',
    '127.0.0.1:70000',
    '127.0.0.1.example:80',
    '',
  ])('refuses the address %j', async (address) => {
    const opened = openAdminServer({ address, ready: () => ({ ready: true }), metrics() {} });
    await expect(opened).rejects.toThrow(RangeError);
  });

  test('says live always, and ready only when ready', async () => {
    let state: Readiness = { ready: false, reason: 'MODULE_UNAVAILABLE' };
    const { server } = await start(() => state);
    expect((await get(server, '/healthz')).status).toBe(200);
    const waiting = await get(server, '/readyz');
    expect(waiting).toEqual({
      status: 503,
      body: '{"ready":false,"reason":"MODULE_UNAVAILABLE"}\n',
    });
    state = { ready: true };
    expect((await get(server, '/readyz')).status).toBe(200);
  });

  test('knows no other path, method or host name', async () => {
    const { server } = await start();
    expect((await get(server, '/')).status).toBe(404);
    expect((await get(server, '/metrics', { method: 'POST' })).status).toBe(405);
    expect((await get(server, '/metrics', { host: 'evil.example' })).status).toBe(421);
  });

  test('a scrape shows every documented name', async () => {
    const { server, metrics } = await start();
    const method = 'lockstep.v1.TokenService/Tokenize';
    metrics.call({ method, code: 'OK', reason: 'OK', seconds: 0.002, done: 998, failed: 2 });
    metrics.call({
      method,
      code: 'RESOURCE_EXHAUSTED',
      reason: 'BUDGET_EXHAUSTED',
      seconds: 0.0001,
      done: 0,
      failed: 0,
    });
    metrics.quotaUsed('keyed', 1000);
    metrics.quotaRefused('reveal');
    metrics.keyJob({ kind: 'encode', ok: true, seconds: 0.001, moduleCalls: 11 });
    metrics.vaultCommit(20);
    metrics.fsync('log', 0.003);
    metrics.healTried('healed');
    metrics.observe({
      keyQueueDepth: () => 3,
      logLeaves: () => 42,
      callsActive: () => 1,
      vaultFenced: () => 1,
      logFenced: () => 0,
      diskFree: () => 123,
    });
    // The event loop's delay has a sample once its 10 ms timer ran twice.
    await new Promise((resolve) => setTimeout(resolve, 60));
    const { status, body } = await get(server, '/metrics');
    expect(status).toBe(200);
    const lines = body.split('\n');
    for (const line of [
      `lockstep_calls_total{rpc_method="${method}",reason="OK"} 1`,
      `lockstep_calls_total{rpc_method="${method}",reason="BUDGET_EXHAUSTED"} 1`,
      `lockstep_items_total{rpc_method="${method}",outcome="done"} 998`,
      `lockstep_items_total{rpc_method="${method}",outcome="failed"} 2`,
      `rpc_server_call_duration_count{rpc_system_name="grpc",rpc_method="${method}",rpc_status_code="OK"} 1`,
      'lockstep_quota_items_total{budget="keyed"} 1000',
      'lockstep_quota_refusals_total{budget="reveal"} 1',
      'lockstep_key_worker_job_duration_count{kind="encode",outcome="done"} 1',
      'lockstep_module_calls_total 11',
      'lockstep_vault_commits_total 1',
      'lockstep_vault_records_total 20',
      'lockstep_fsync_duration_count{place="log"} 1',
      'lockstep_key_worker_queue_depth 3',
      'lockstep_log_leaves 42',
      'lockstep_calls_active 1',
      'lockstep_heals_total{outcome="healed"} 1',
      'lockstep_vault_fenced 1',
      'lockstep_log_fenced 0',
      'lockstep_disk_free 123',
    ]) {
      expect(lines).toContain(line);
    }
    for (const name of ['p50', 'p99', 'max']) {
      expect(body).toMatch(new RegExp(`^nodejs_eventloop_delay_${name} \\d`, 'm'));
    }
  });

  test('a second server on the same port is refused', async () => {
    const { server } = await start();
    const second = openAdminServer({
      address: server.address,
      ready: () => ({ ready: true }),
      metrics() {},
    });
    await expect(second).rejects.toThrow('EADDRINUSE');
  });
});
