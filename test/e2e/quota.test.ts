import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AccessService } from '../../src/rpc/gen/lockstep/v1/access_service_pb.ts';
import { View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import { TokenService } from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { softHsmLibrary } from '../softhsm.ts';
import { WatchedServer } from './watched-server.ts';

const run = softHsmLibrary() === undefined ? describe.skip : describe;
const DAY_MS = 86_400_000;
/** What a caller may reveal of a domain in a day. */
const REVEALS = 10_000;

let watched: WatchedServer;
let tokens: readonly string[];

const reveal = (some: readonly string[], domain = 'account') => ({
  domain,
  tokens: [...some],
  purpose: 'TREAT',
  view: View.PLAIN,
});

run('quota used up', () => {
  beforeAll(async () => {
    watched = await WatchedServer.start();
    const values = Array.from({ length: REVEALS }, (_, i) => String(400_000_000 + i));
    tokens = (await watched.tokens.tokenize({ domain: 'account', values })).tokens;
  });
  afterAll(() => watched.stop());

  const exhausted = async (): Promise<void> => {
    const answer = await watched.refuses(
      () => watched.send('Detokenize', reveal(tokens.slice(0, 1))),
      'BUDGET_EXHAUSTED',
    );
    // Until the next day, by UTC.
    expect(answer.retryDelayMs).toBeGreaterThan(0);
    expect(answer.retryDelayMs).toBeLessThanOrEqual(DAY_MS);
  };

  test('the day’s reveals are answered, the next one is refused as a whole', async () => {
    const first = await watched.tokens.detokenize(reveal(tokens.slice(0, REVEALS - 10)));
    expect(first.errors).toEqual([]);
    // A call that does not fit takes nothing away from one that does.
    await watched.refuses(
      () => watched.send('Detokenize', reveal(tokens.slice(0, 11))),
      'BUDGET_EXHAUSTED',
    );
    const last = await watched.tokens.detokenize(reveal(tokens.slice(REVEALS - 10)));
    expect(last.values.at(-1)).toBe(String(400_000_000 + REVEALS - 1));
    await exhausted();
  });

  test('it is the caller’s and the domain’s alone', async () => {
    const clinician = watched.clientOf('clinician');
    const other = await clinician.stub(TokenService).detokenize(reveal(tokens.slice(0, 1)));
    expect(other.values).toEqual(['400000000']);
    clinician.close();
    await watched.works();
  });

  test('a restart gives nothing back', async () => {
    await watched.restart();
    await exhausted();
  });

  test('a bulk grant raises it, by an officer and for that caller', async () => {
    const officer = watched.clientOf('officer');
    await officer.stub(AccessService).grantBulk({
      caller: 'dev:dev',
      domain: 'account',
      count: 5n,
      untilTime: timestampFromMs(Date.now() + DAY_MS),
    });
    officer.close();
    const answer = await watched.tokens.detokenize(reveal(tokens.slice(0, 5)));
    expect(answer.errors).toEqual([]);
    await exhausted();
    await watched.restart();
    await exhausted();
  });
});
