import { randomUUID } from 'node:crypto';
import { systemClock } from '../../src/base/clock.ts';
import { columnOf, stringsOf } from '../../src/base/column.ts';
import { openLogger } from '../../src/base/logger.ts';
import { openMetrics } from '../../src/base/metrics.ts';
import { Plain } from '../../src/base/plain.ts';
import { NONE } from '../../src/engine/calls.ts';
import { openEngine } from '../../src/engine/open.ts';
import { CHECKPOINT_LABEL, ROOT_LABEL } from '../../src/keys/roots.ts';
import { openPolicy } from '../../src/policy/cedar.ts';
import { devCallers } from '../../src/policy/starter/callers.ts';
import { starterPolicies, starterSchema } from '../../src/policy/starter/starter.ts';
import { StoreError } from '../../src/storage/store.ts';

/* Another process that opens a copy of an installation: `FOLDER LIBRARY TOKEN PIN-FILE [adopt
 * COUNT]`. Says why it is refused, or prints the tokens that it minted in `clinic/visit`. */

const [folder, library, token, pinSource, adopt, count] = process.argv.slice(2);
try {
  const engine = await openEngine({
    folder: folder!,
    module: { kind: 'pkcs11', library: library!, token: token!, pinSource: pinSource! },
    root: ROOT_LABEL,
    checkpointKey: CHECKPOINT_LABEL,
    origin: 'test.example/lockstep',
    policy: openPolicy({
      policies: starterPolicies(),
      schema: starterSchema(),
      callers: devCallers,
    }),
    clock: systemClock,
    logger: openLogger({ level: 'silent' }),
    metrics: openMetrics(),
    create: false,
    onFatal: (why) => console.log(why),
    ...(adopt === undefined ? {} : { accept: { moved: 'a clone' } }),
  });
  const values = Array.from({ length: Number(count) }, (_, i) => String(900_000_000 + i));
  const { tokens } = await engine.tokenize({
    caller: { id: 'dev:dev', organisation: 'clinic' },
    domain: 'visit',
    purpose: '',
    deadlineMs: Date.now() + 30_000,
    cancelled: () => false,
    delivery: 'best-effort',
    context: NONE,
    subject: NONE,
    requestId: randomUUID(),
    values: new Plain(columnOf(values)),
    waitForProof: false,
  });
  for (const each of stringsOf(tokens)) console.log(each);
  await engine.close();
} catch (error) {
  console.log(error instanceof StoreError ? error.fault : String(error));
}
