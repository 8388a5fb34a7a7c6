import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { openLogger } from '../base/logger.ts';
import { openMetrics } from '../base/metrics.ts';
import { repairVault } from '../engine/repair.ts';
import { openLevelStore } from '../storage/level-store.ts';
import { type Finding, fsck } from '../vault/fsck.ts';
import { loadConfig } from './config.ts';
import { CONFIG_FILE, configPath } from './config-command.ts';
import { EXIT, type Frame, printJson, printTable, write } from './frame.ts';
import { openProgress } from './progress.ts';
import { engineOptions, openAndClose } from './serving.ts';
import { refusing } from './start-refusal.ts';
import { vaultGroup } from './vault-group.ts';

interface OfflineOptions {
  readonly config?: string;
  readonly json?: boolean;
}

interface RepairOptions extends OfflineOptions {
  readonly note: string;
}

/** `lockstep vault fsck|repair`: while no server runs. */
export function addVaultRepair(program: Command, frame: Frame): void {
  const group = vaultGroup(program);
  const add = (name: string, description: string) =>
    group
      .command(name)
      .description(description)
      .option('--config <file>', `default: LOCKSTEP_CONFIG, else ${CONFIG_FILE}`)
      .option('--json', 'answer in JSON');
  add('fsck', 'Checks every row of the vault; no server may run, no key is needed').action(
    frame.action((options: OfflineOptions) => check(frame, options)),
  );
  add('repair', 'Mends a damaged vault as far as its rows and the log tell; what was erased stays')
    .requiredOption('--note <text>', 'why, at most 500 bytes; it stands in the log for good')
    .action(frame.action((options: RepairOptions) => repair(frame, options)));
}

/** How many findings are told one by one. */
const SHOWN_MAX = 20;

async function check(frame: Frame, options: OfflineOptions): Promise<number> {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const folder = join(config.data.folder, 'vault');
  const counts: Record<string, number> = {};
  const shown: Finding[] = [];
  let rows = 0;
  const bar = openProgress(frame.io, undefined);
  const store = await refusing(() => openLevelStore({ folder, create: false }));
  try {
    const progress = (seen: number): void => {
      rows = seen;
      bar.at(seen, 0);
    };
    await refusing(async () => {
      for await (const finding of fsck(store, { progress })) {
        frame.signal.throwIfAborted();
        counts[finding.problem] = (counts[finding.problem] ?? 0) + 1;
        if (shown.length < SHOWN_MAX) shown.push(finding);
      }
    });
  } finally {
    bar.stop();
    await store.close();
  }
  const clean = shown.length === 0;
  if (options.json === true) await printJson(frame.io, { rows, counts, findings: shown });
  else if (clean) await write(frame.io.stdout, `${rows} rows, nothing wrong\n`);
  else {
    await write(frame.io.stdout, `${rows} rows\n`);
    await printTable(
      frame.io,
      Object.entries(counts).map(([problem, count]) => [problem, String(count)]),
    );
    await write(frame.io.stdout, '`lockstep vault repair --note TEXT` mends what can be mended\n');
  }
  return clean ? EXIT.ok : EXIT.failed;
}

/** Rows first, then a start that takes over what the log knows, with a leaf. */
async function repair(frame: Frame, options: RepairOptions): Promise<number> {
  const { config } = loadConfig(configPath(frame.io, options.config), frame.io.env);
  const serving = { config, development: false, create: false };
  const bar = openProgress(frame.io, undefined);
  const logger = openLogger({ level: config.logging.level });
  const metrics = openMetrics();
  const report = await refusing(() =>
    repairVault(engineOptions(serving, logger, metrics), (rows) => bar.at(rows, 0)),
  ).finally(() => {
    bar.stop();
    metrics.close();
  });
  let leafIndex = -1;
  let lost: readonly string[] = [];
  const accept = {
    rollback: options.note,
    repair: { note: options.note, report },
    by: `local:${userInfo().username}`,
    onLeaf: (leaf: { verb: string; leafIndex: number; found: readonly string[] }) => {
      if (leaf.verb === 'VaultRepaired') [leafIndex, lost] = [leaf.leafIndex, leaf.found];
    },
  };
  await refusing(() => openAndClose({ ...serving, accept }));
  if (options.json === true) await printJson(frame.io, { ...report, lost, leafIndex });
  else {
    const { live: _, ...counts } = report;
    await printTable(
      frame.io,
      Object.entries(counts).map(([name, count]) => [name, String(count)]),
    );
    for (const line of lost) await write(frame.io.stdout, `${line}; a backup may have the rest\n`);
    await write(frame.io.stdout, `repaired, in leaf ${leafIndex}\n`);
  }
  return EXIT.ok;
}
