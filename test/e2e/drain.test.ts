import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GRPC_CODE } from '../../src/rpc/codes.ts';
import { AccessService } from '../../src/rpc/gen/lockstep/v1/access_service_pb.ts';
import { View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import { TokenService } from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { RpcError } from '../../src/rpc/rpc-error.ts';
import { softHsmLibrary } from '../softhsm.ts';
import {
  devClient,
  type ServerProcess,
  startDevServer,
  type TemporaryFolder,
  temporaryFolder,
} from './processes.ts';

const run = softHsmLibrary() === undefined ? describe.skip : describe;
let folder: TemporaryFolder;
const CLIENTS = 6;
const ITEMS = 25;
const LOAD_MS = 1_500;

interface Call {
  readonly requestId: string;
  readonly values: string[];
}

/** What clients were told. */
interface Journal {
  readonly acknowledged: { readonly call: Call; readonly tokens: readonly string[] }[];
  readonly refused: { readonly call: Call; readonly error: RpcError }[];
}

/** Mints in one batch after the other until the server says no. */
async function load(server: ServerProcess, client: number, journal: Journal): Promise<void> {
  const connection = devClient(server);
  try {
    for (let batch = 0; ; batch++) {
      const first = client * 10_000_000 + batch * ITEMS;
      const values = Array.from({ length: ITEMS }, (_, i) => String(first + i).padStart(9, '0'));
      const call = { requestId: `${client}-${batch}`, values };
      try {
        const request = { ...call, domain: 'visit' };
        const { tokens } = await connection.stub(TokenService).tokenize(request);
        journal.acknowledged.push({ call, tokens });
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        journal.refused.push({ call, error });
        return;
      }
    }
  } finally {
    connection.close();
  }
}

async function raiseQuota(server: ServerProcess): Promise<void> {
  const officer = devClient(server, 'officer');
  const untilTime = timestampFromMs(Date.now() + 3_600_000);
  const grant = { caller: 'dev:dev', domain: 'visit', count: 1_000_000n, untilTime };
  await officer.stub(AccessService).grantBulk(grant);
  officer.close();
}

async function expectResolved(server: ServerProcess, { acknowledged }: Journal): Promise<void> {
  const connection = devClient(server);
  const reveal = { domain: 'visit', purpose: 'TREAT', view: View.PLAIN };
  for (let i = 0; i < acknowledged.length; i += 100) {
    const some = acknowledged.slice(i, i + 100);
    const tokens = some.flatMap((each) => each.tokens);
    const { values, errors } = await connection
      .stub(TokenService)
      .detokenize({ ...reveal, tokens });
    expect(errors).toEqual([]);
    expect(values).toEqual(some.flatMap((each) => each.call.values));
  }
  connection.close();
}

run('the end of a server under load', () => {
  beforeAll(() => {
    folder = temporaryFolder();
  });
  afterAll(() => folder.remove());

  test.each(['SIGTERM', 'SIGKILL'] as const)('%s loses nothing that was answered', async (way) => {
    const server = await startDevServer(`${folder.path}/${way}`);
    const journal: Journal = { acknowledged: [], refused: [] };
    const clients = Array.from({ length: CLIENTS }, (_, i) => load(server, i, journal));
    await new Promise((resolve) => setTimeout(resolve, LOAD_MS));
    if (way === 'SIGTERM') expect(await server.stop()).toBe(0);
    else await server.kill();
    await Promise.all(clients);

    // Each client was told to come back, and nothing else.
    expect(journal.refused).toHaveLength(CLIENTS);
    for (const { error } of journal.refused) {
      expect(error.code, `${error.reason} ${error.message}`).toBe(GRPC_CODE.UNAVAILABLE);
    }
    expect(journal.acknowledged.length).toBeGreaterThan(CLIENTS);
    expect(server.output()).not.toMatch(/"level":"error"|\n\s+at /);

    const next = await startDevServer(`${folder.path}/${way}`);
    await raiseQuota(next);
    await expectResolved(next, journal);
    // Those refused are whole or not there: the same request ids finish them, once.
    const connection = devClient(next);
    for (const { call } of journal.refused) {
      const { tokens } = await connection.stub(TokenService).tokenize({ ...call, domain: 'visit' });
      journal.acknowledged.push({ call, tokens });
    }
    connection.close();
    await expectResolved(next, journal);
    const minted = journal.acknowledged.flatMap((each) => each.tokens);
    expect(new Set(minted).size).toBe(minted.length);
    expect(await next.stop()).toBe(0);
  });
});
