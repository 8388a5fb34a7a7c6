import fc from 'fast-check';
import { expect, test } from 'vitest';
import { columnOf } from '../../src/base/column.ts';
import { MemoryStore } from '../../src/storage/memory-store.ts';
import type { Claim } from '../../src/vault/claims.ts';
import { initVault, openVault, type Vault } from '../../src/vault/vault.ts';
import {
  addDomains,
  collect,
  IDENTITY,
  indexesOf,
  LISTED,
  leafOf,
  mint,
  readTexts,
  STATIC,
} from './minting.ts';

/* The model knows names and counters, no tables, tickets or groups. */

type Phase = 'open' | 'asked' | 'committed' | 'failed';

interface Call {
  readonly names: readonly number[];
  /** Names this call made, and with which counters. */
  readonly made: ReadonlyMap<number, number>;
  /** Calls whose counters it took over. */
  readonly before: readonly Call[];
  phase: Phase;
  /** The real side. */
  readonly claim: Claim;
  answer: Promise<void> | undefined;
}

class Model {
  stored = new Map<number, number>();
  calls: Call[] = [];
  given = new Set<number>();
  listed = 0;
  commits = 0;

  get open(): Call[] {
    return this.calls.filter(({ phase }) => phase === 'open');
  }

  holder(name: number): Call | undefined {
    const live = ({ phase, made }: Call): boolean =>
      (phase === 'open' || phase === 'asked') && made.has(name);
    return this.calls.find(live);
  }

  /** Lets every call that asked to commit, and no longer waits, come to its end. */
  settle(): void {
    for (let again = true; again; ) {
      again = false;
      for (const call of this.calls) {
        if (call.phase !== 'asked') continue;
        if (call.before.some(({ phase }) => phase === 'failed')) call.phase = 'failed';
        else if (call.before.every(({ phase }) => phase === 'committed')) this.commit(call);
        else continue;
        again = true;
      }
    }
  }

  commit(call: Call): void {
    call.phase = 'committed';
    for (const [name, counter] of call.made) this.stored.set(name, counter);
    this.commits++;
  }
}

interface Real {
  store: MemoryStore;
  vault: Vault;
}

type Command = fc.AsyncCommand<Model, Real>;

/** What the claim must be, given what the model knows. */
function learn(model: Model, names: readonly number[], claim: Claim): void {
  const made = new Map<number, number>();
  const before = new Set<Call>();
  for (const [row, name] of names.entries()) {
    const counter = claim.counters[row]!;
    const holder = model.holder(name);
    const known = model.stored.get(name) ?? holder?.made.get(name) ?? made.get(name);
    expect(claim.created[row], 'created').toBe(known === undefined ? 1 : 0);
    if (known !== undefined) expect(counter).toBe(known);
    else {
      expect(model.given.has(counter), 'a counter given twice').toBe(false);
      model.given.add(counter);
      made.set(name, counter);
    }
    if (holder !== undefined && !model.stored.has(name)) before.add(holder);
  }
  const call: Call = { names, made, before: [...before], phase: 'open', claim, answer: undefined };
  model.calls.push(call);
}

function ask(vault: Vault, call: Call): void {
  const commit = vault.nextCommit();
  const sealed = columnOf([...call.made.entries()].map(([name]) => `value ${name}`));
  const records = { claim: call.claim, sealed };
  call.answer = vault.commit([vault.prepare({ commit, ...leafOf(commit), records })]);
  call.answer.catch(() => {});
  call.phase = 'asked';
}

/** What the model says has ended must end so; what it says waits is left alone. */
async function agree(model: Model): Promise<void> {
  model.settle();
  for (const { phase, answer } of model.calls) {
    if (phase === 'committed') await answer;
    if (phase === 'failed' && answer !== undefined) await expect(answer).rejects.toBeDefined();
  }
}

class Claims implements Command {
  readonly batches: readonly (readonly number[])[];
  /** Place of an open call that commits at the same time; none if there is no such call. */
  readonly beside: number;
  constructor(batches: readonly (readonly number[])[], beside: number) {
    this.batches = batches;
    this.beside = beside;
  }
  check = (): boolean => true;
  async run(model: Model, { vault }: Real): Promise<void> {
    const reading = this.batches.map((names) => vault.claim(STATIC, indexesOf(names)));
    const committing = model.open[this.beside];
    if (committing !== undefined) ask(vault, committing);
    const claims = await Promise.all(reading);
    model.settle(); // A call that waited for a failed one is told before the reads are back.
    for (const [i, names] of this.batches.entries()) learn(model, names, claims[i]!);
    await agree(model);
  }
  toString = (): string => `claims(${JSON.stringify(this.batches)}, ${this.beside})`;
}

class Commits implements Command {
  readonly places: readonly number[];
  constructor(places: readonly number[]) {
    this.places = places;
  }
  check = ({ open }: Readonly<Model>): boolean => open.length > 0;
  async run(model: Model, { vault }: Real): Promise<void> {
    const { open } = model;
    for (const place of new Set(this.places.map((place) => place % open.length))) {
      ask(vault, open[place]!);
    }
    await agree(model);
  }
  toString = (): string => `commits(${this.places})`;
}

class Release implements Command {
  readonly place: number;
  constructor(place: number) {
    this.place = place;
  }
  check = ({ open }: Readonly<Model>): boolean => open.length > 0;
  async run(model: Model, { vault }: Real): Promise<void> {
    const call = model.open[this.place % model.open.length]!;
    vault.release(call.claim);
    call.phase = 'failed';
    await agree(model);
  }
  toString = (): string => `release(${this.place})`;
}

class Mint implements Command {
  readonly count: number;
  constructor(count: number) {
    this.count = count;
  }
  check = (): boolean => true;
  async run(model: Model, { vault }: Real): Promise<void> {
    await mint(
      vault,
      LISTED,
      Array.from({ length: this.count }, (_, i) => i),
    );
    model.listed += this.count;
    model.commits++;
  }
  toString = (): string => `mint(${this.count})`;
}

/** The process dies: what was not committed is gone, and nobody was told of it. */
class Crash implements Command {
  check = (): boolean => true;
  async run(model: Model, real: Real): Promise<void> {
    real.store = new MemoryStore({ contents: real.store.contents });
    real.vault = await openVault(real.store, { identity: IDENTITY });
    model.calls = [];
    model.given = new Set(model.stored.values());
  }
  toString = (): string => 'crash';
}

class Look implements Command {
  check = (): boolean => true;
  async run(model: Model, { vault }: Real): Promise<void> {
    const names = Array.from({ length: 12 }, (_, i) => i);
    const found = await vault.find(STATIC, indexesOf(names));
    const wanted = names.map((name) => model.stored.get(name) ?? Number.NaN);
    expect([...found]).toEqual(wanted);
    const texts = names.map((name) => (model.stored.has(name) ? `value ${name}` : ''));
    expect(await readTexts(vault, STATIC, found)).toEqual(texts);
    expect(vault.liveCount(STATIC)).toBe(model.stored.size);
    expect(vault.liveCount(LISTED)).toBe(model.listed);
    expect(await collect(vault.outbox())).toHaveLength(model.commits);
    expect(await collect(vault.fsck())).toEqual([]);
  }
  toString = (): string => 'look';
}

test('any order of claims, commits, failures and crashes agrees with a plain list', () => {
  const name = fc.nat(11);
  const place = fc.nat(5);
  const batch = fc.array(name, { maxLength: 5 });
  const commands = [
    fc
      .tuple(fc.array(batch, { minLength: 1, maxLength: 3 }), place)
      .map(([batches, beside]) => new Claims(batches, beside)),
    fc.array(place, { minLength: 1, maxLength: 3 }).map((places) => new Commits(places)),
    place.map((at) => new Release(at)),
    fc.nat(3).map((count) => new Mint(count)),
    fc.constant(new Crash()),
    fc.constant(new Look()),
  ];
  return fc.assert(
    fc.asyncProperty(fc.commands(commands, { size: '+1' }), async (sequence) => {
      const store = new MemoryStore();
      const vault = await initVault(store, { identity: IDENTITY });
      await addDomains(vault);
      const real: Real = { store, vault };
      const model = new Model();
      await fc.asyncModelRun(() => ({ model, real }), sequence);
      await new Look().run(model, real);
    }),
    { numRuns: 80 },
  );
});
