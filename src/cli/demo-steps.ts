import type { ListedKey } from './demo-audit.ts';
import { readFhirPatients } from './demo-fhir.ts';
import { makePatients } from './demo-patients.ts';
import { type LogFigures, searchFiles, showKeys, verifyLog } from './demo-proofs.ts';
import { grouped, type Script, type StepTime } from './demo-script.ts';
import type { SearchReport } from './demo-search.ts';
import type { DemoServer } from './demo-server.ts';
import { FIELDS, type Stage } from './demo-stage.ts';
import { type DomainFigure, grantBulk, revealAll, showTable, tokenizeAll } from './demo-tokens.ts';
import {
  exchangeIntoStudy,
  type FhirFigures,
  revealInViews,
  tokenizeFhir,
  type ViewFigures,
} from './demo-views.ts';
import type { Frame } from './frame.ts';

/** What `--json` prints; keys and FHIR are null where pkcs11-tool or the files are not there. */
export interface DemoSummary {
  readonly ok: true;
  readonly patients: number;
  readonly tokenized: { values: number; perSecond: number; domains: readonly DomainFigure[] };
  readonly revealed: { values: number; perSecond: number };
  readonly quotaRefusal: string;
  readonly views: ViewFigures['views'];
  readonly denied: ViewFigures['denied'];
  readonly exchanged: number;
  readonly fhir: FhirFigures | null;
  readonly keys: readonly ListedKey[] | null;
  readonly log: LogFigures;
  readonly search: SearchReport;
  readonly steps: readonly StepTime[];
}

const SEED = 'lockstep-demo-1';

/** The demo from start to stop. Rejects with the first thing that does not hold. */
export async function playDemo(
  frame: Frame,
  script: Script,
  server: DemoServer,
  count: number,
): Promise<DemoSummary> {
  await script.print('Lockstep demo. All persons in it are made up; no real patient is shown.\n\n');
  await script.step('Start a server: SoftHSM token, root keys, domains', () => server.start());
  const patients = await script.step(`Make up ${grouped(count)} patients`, async () =>
    makePatients(count, SEED),
  );
  const stage: Stage = { frame, script, server, patients, tokens: new Map() };
  const { refused } = await script.step('Quota, and a bulk grant', () => grantBulk(stage));
  const total = grouped(count * FIELDS.length);
  const domains = await script.step(`Tokenize ${total} values over gRPC, 1,000 a call`, () =>
    tokenizeAll(stage),
  );
  await script.step('Before and after', () => showTable(stage));
  const revealed = await script.step('Reveal all of them as clinician, and compare', () =>
    revealAll(stage),
  );
  const shown = await script.step('The first patient, as five callers see it', () =>
    revealInViews(stage),
  );
  const exchanged = await script.step('Exchange SSN tokens into study 7', () =>
    exchangeIntoStudy(stage),
  );
  const files = readFhirPatients(frame.io.env);
  const fhir =
    files === undefined
      ? null
      : await script.step(`${files.patients} patients of ${files.files} FHIR sample files`, () =>
          tokenizeFhir(stage, files),
        );
  const keys = await script.step('The keys, as pkcs11-tool lists them', () => showKeys(stage));
  await script.step('Stop the server', async () => {
    script.expect((await server.stop()) === 0, 'the server did not end in good order');
  });
  const log = await script.step('Verify the log', () => verifyLog(stage, shown.leaf));
  const also = (files?.values ?? []).map(({ value }) => value);
  const search = await script.step('Search vault, log and server output for plain values', () =>
    searchFiles(stage, also),
  );
  return {
    ok: true,
    patients: count,
    tokenized: { ...rateOf(domains), domains },
    revealed: { values: revealed.values, perSecond: revealed.perSecond },
    quotaRefusal: refused,
    views: shown.views,
    denied: shown.denied,
    exchanged,
    fhir,
    keys,
    log,
    search,
    steps: script.steps,
  };
}

function rateOf(domains: readonly DomainFigure[]): { values: number; perSecond: number } {
  const values = domains.reduce((sum, one) => sum + one.values, 0);
  return { values, perSecond: values / domains.reduce((sum, one) => sum + one.seconds, 0) };
}
