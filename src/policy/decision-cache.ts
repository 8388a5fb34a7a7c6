import { ACTIONS, type Action } from './grants.ts';
import { PURPOSE_PLACES } from './purpose.ts';

/** The answer to an `Ask`. */
export interface Decision {
  readonly allow: boolean;
  /** Ids of the rules that decided, ascending: the permits, or the forbids that beat them. Empty
   *  where no rule matched; `(error)` alone where a rule or the request erred, which denies. */
  readonly rules: readonly string[];
}

/** Everything of a request that the schema lets a policy see. Grants are not here: they belong to
 *  the loaded policy, and a new one starts with an empty cache. */
export interface CacheKey {
  readonly callerId: string;
  readonly organisation: string;
  readonly action: Action;
  readonly domainId: string;
  readonly kind: string;
  readonly format: string;
  /** `purposePlace` of the purpose; 0 or more. */
  readonly purpose: number;
  /** Exponent of the size bucket, 0 to 63. */
  readonly exponent: number;
}

/** Decisions about one caller and one domain, by action, purpose and size. */
interface Leaf {
  readonly organisation: string;
  readonly kind: string;
  readonly format: string;
  readonly decisions: Map<number, Decision>;
}

class Generation {
  readonly callers = new Map<string, Map<string, Leaf>>();
  size = 0;
}

const PLACES = new Map<Action, number>(ACTIONS.map((action, i) => [action, i]));

/** A bounded memory of decisions in two generations: when the young one is full it becomes the
 *  old one and the old one is dropped, so a caller who asks for ever new things pushes out only
 *  what nobody else used meanwhile. Maps within maps: no key is built on the way to a hit. */
export class DecisionCache {
  readonly #entriesMax: number;
  #young = new Generation();
  #old = new Generation();

  /** Holds at most `entriesMax` decisions; 0 keeps none. */
  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  /** Decisions held, both generations. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: CacheKey): Decision | undefined {
    const found = find(this.#young, key);
    if (found !== undefined) return found;
    const older = find(this.#old, key);
    if (older !== undefined) this.put(key, older);
    return older;
  }

  put(key: CacheKey, decision: Decision): void {
    const half = this.#entriesMax >> 1;
    if (half === 0) return;
    if (this.#young.size >= half) {
      this.#old = this.#young;
      this.#young = new Generation();
    }
    const leaf = leafFor(this.#young, key);
    const place = placeOf(key);
    if (!leaf.decisions.has(place)) this.#young.size++;
    leaf.decisions.set(place, decision);
  }
}

const placeOf = (key: CacheKey): number =>
  (PLACES.get(key.action)! * PURPOSE_PLACES + key.purpose) * 64 + key.exponent;

function find(generation: Generation, key: CacheKey): Decision | undefined {
  const leaf = generation.callers.get(key.callerId)?.get(key.domainId);
  if (leaf === undefined || !fits(leaf, key)) return undefined;
  return leaf.decisions.get(placeOf(key));
}

const fits = (leaf: Leaf, key: CacheKey): boolean =>
  leaf.organisation === key.organisation && leaf.kind === key.kind && leaf.format === key.format;

function leafFor(generation: Generation, key: CacheKey): Leaf {
  let domains = generation.callers.get(key.callerId);
  if (domains === undefined) {
    domains = new Map();
    generation.callers.set(key.callerId, domains);
  }
  const leaf = domains.get(key.domainId);
  if (leaf !== undefined && fits(leaf, key)) return leaf;
  // Kind, format and organisation of an id hardly ever change; when they do, the new ones stay.
  if (leaf !== undefined) generation.size -= leaf.decisions.size;
  const fresh = {
    organisation: key.organisation,
    kind: key.kind,
    format: key.format,
    decisions: new Map<number, Decision>(),
  };
  domains.set(key.domainId, fresh);
  return fresh;
}
