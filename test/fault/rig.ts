import assert from 'node:assert';
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { verifierKey } from '../../src/audit/note.ts';
import { openPkcs11Module } from '../../src/keys/pkcs11.ts';
import { CHECKPOINT_LABEL } from '../../src/keys/roots.ts';
import { verbsOf } from '../../src/rpc/verbs.ts';
import { openLevelStore } from '../../src/storage/level-store.ts';
import { openVault } from '../../src/vault/vault.ts';
import { type Breach, checkCanaries, checkLog, checkTokens } from './checker.ts';
import { Home, type Server } from './home.ts';
import { Journal } from './journal.ts';
import { DOMAINS, Load, type LoadOptions } from './load.ts';

/** An installation, the client's journal of it, and the public key of its log. */
export class Rig {
  readonly home: Home;
  readonly journal: Journal;
  /** The log's public key as Go's note writes it. */
  readonly verifier: string;
  readonly #copies: Rig[] = [];
  readonly #loads: Load[] = [];

  constructor(home: Home, journal: Journal, verifier: string) {
    this.home = home;
    this.journal = journal;
    this.verifier = verifier;
  }

  /** The same at a new place; the server must be stopped. */
  copyTo(folder: string): Rig {
    mkdirSync(folder, { recursive: true });
    const home = this.home.copyTo(join(folder, 'home'));
    const path = join(folder, 'journal');
    cpSync(this.journal.path, path);
    const copy = new Rig(home, new Journal(path), this.verifier);
    this.#copies.push(copy);
    return copy;
  }

  load(options: Omit<LoadOptions, 'journal'>): Load {
    const load = new Load({ ...options, journal: this.journal });
    this.#loads.push(load);
    return load;
  }

  /** Remembers the checkpoint of now: later ones must have grown from it. */
  remember(): void {
    const file = this.home.data('log', 'checkpoint');
    if (existsSync(file)) this.journal.write({ checkpoint: readFileSync(file, 'utf8') });
  }

  /** I1 to I5 against a running server. */
  async breaches(server: Server, named: readonly string[] = []): Promise<Breach[]> {
    const account = this.journal.read();
    const { breaches } = await checkTokens(server, account, named);
    const log = await checkLog(this.home.data('log'), this.verifier, account);
    const texts = [await server.metrics()];
    const places = [this.home.data(), this.home.stderr];
    return [...breaches, ...log, ...checkCanaries(places, texts, account)];
  }

  async assertWhole(server: Server): Promise<void> {
    assert.deepStrictEqual(await this.breaches(server), []);
  }

  /** What `fsck` says about the vault; the server must be stopped. */
  async vaultProblems(): Promise<string[]> {
    const text = readFileSync(this.home.data('catalogue.json'), 'utf8');
    const { catalogue } = JSON.parse(text) as { catalogue: { installation: string } };
    const store = await openLevelStore({ folder: this.home.data('vault'), create: false });
    // A copy is looked at where it lies.
    const options = { identity: catalogue.installation, moved: 'allow' } as const;
    const vault = await openVault(store, options);
    const problems: string[] = [];
    try {
      for await (const { problem } of vault.fsck()) problems.push(problem);
    } finally {
      await vault.close();
    }
    return problems;
  }

  /** Ends what still runs here and in the copies made of it. Harmless when done before. */
  close(): void {
    for (const copy of this.#copies) copy.close();
    for (const load of this.#loads) load.abandon();
    this.home.killAll();
    this.journal.close();
  }
}

const GRANTED_ITEMS = 1e9;
const DAY_MS = 86_400_000;

/** A new installation with quotas for all that the faults do. Its server is stopped. */
export async function makeRig(folder: string): Promise<Rig> {
  mkdirSync(folder, { recursive: true });
  const home = new Home(join(folder, 'home'));
  const server = await home.start();
  const officer = verbsOf(server.connect('officer'));
  for (const domain of DOMAINS) {
    const untilMs = Date.now() + DAY_MS;
    await officer.grantBulk({ caller: 'dev:dev', domain, count: GRANTED_ITEMS, untilMs });
  }
  await server.end();
  return new Rig(home, new Journal(join(folder, 'journal')), verifierOfHome(home));
}

/** Read out of the token, as whoever hands the key to an auditor does it. */
function verifierOfHome(home: Home): string {
  const conf = join(home.folder, 'softhsm', 'softhsm2.conf');
  const text = readFileSync(home.config, 'utf8');
  const setting = (name: string): string => {
    const found = new RegExp(`^${name} = "(.*)"$`, 'm').exec(text)?.[1];
    assert(found !== undefined, `lockstep.toml names ${name}`);
    return found;
  };
  process.env['SOFTHSM2_CONF'] = conf;
  const module = openPkcs11Module({
    library: setting('library'),
    token: setting('token'),
    pinSource: setting('pin_source'),
  });
  try {
    return verifierKey(setting('origin'), module.publicKey(CHECKPOINT_LABEL));
  } finally {
    module.close();
  }
}
