const WORDS = 5;
/** Above this share of used places the table doubles: probes stay short. */
const FILL_MAX = 0.5;

/** The indexes that calls under way have claimed: domain and four words of a keyed index →
 *  counter and owner. Open addressing in typed arrays, since a Map would want a string a row.
 *  Keyed indexes are CMACs, so their words are hashes already. */
export class IndexTable {
  #mask: number;
  #keys: Uint32Array;
  #counters: Float64Array;
  /** 0 is a free place. */
  #owners: Uint32Array;
  #size = 0;

  constructor(capacity = 4_096) {
    this.#mask = capacity - 1;
    this.#keys = new Uint32Array(capacity * WORDS);
    this.#counters = new Float64Array(capacity);
    this.#owners = new Uint32Array(capacity);
  }

  /** Rows in the table. */
  get size(): number {
    return this.#size;
  }

  /** The place of an index, or −1. A place is good until the next `add` or `remove`. */
  find(domain: number, words: Uint32Array, at: number): number {
    let place = this.#home(domain, words[at]!, words[at + 3]!);
    while (this.#owners[place] !== 0) {
      if (this.#holds(place, domain, words, at)) return place;
      place = (place + 1) & this.#mask;
    }
    return -1;
  }

  counter(place: number): number {
    return this.#counters[place]!;
  }

  owner(place: number): number {
    return this.#owners[place]!;
  }

  /** The index must not be there yet; `owner` is from 1. */
  add(domain: number, words: Uint32Array, at: number, counter: number, owner: number): void {
    if (this.#size >= FILL_MAX * (this.#mask + 1)) this.#grow();
    let place = this.#home(domain, words[at]!, words[at + 3]!);
    while (this.#owners[place] !== 0) place = (place + 1) & this.#mask;
    const key = place * WORDS;
    this.#keys[key] = domain;
    for (let i = 0; i < 4; i++) this.#keys[key + 1 + i] = words[at + i]!;
    this.#counters[place] = counter;
    this.#owners[place] = owner;
    this.#size++;
  }

  /** Nothing happens where the index is not there. */
  remove(domain: number, words: Uint32Array, at: number): void {
    let hole = this.find(domain, words, at);
    if (hole < 0) return;
    this.#size--;
    // Backward shift: rows behind the hole move up unless they already stand at or after home.
    let next = (hole + 1) & this.#mask;
    while (this.#owners[next] !== 0) {
      const key = next * WORDS;
      const home = this.#home(this.#keys[key]!, this.#keys[key + 1]!, this.#keys[key + 4]!);
      if (((next - home) & this.#mask) >= ((next - hole) & this.#mask)) {
        this.#move(next, hole);
        hole = next;
      }
      next = (next + 1) & this.#mask;
    }
    this.#owners[hole] = 0;
  }

  #home(domain: number, first: number, last: number): number {
    return (first ^ (last >>> 7) ^ Math.imul(domain, 0x9e3779b1)) & this.#mask;
  }

  #holds(place: number, domain: number, words: Uint32Array, at: number): boolean {
    const key = place * WORDS;
    return (
      this.#keys[key + 1] === words[at] &&
      this.#keys[key + 2] === words[at + 1] &&
      this.#keys[key + 3] === words[at + 2] &&
      this.#keys[key + 4] === words[at + 3] &&
      this.#keys[key] === domain
    );
  }

  #move(from: number, to: number): void {
    this.#keys.copyWithin(to * WORDS, from * WORDS, from * WORDS + WORDS);
    this.#counters[to] = this.#counters[from]!;
    this.#owners[to] = this.#owners[from]!;
  }

  #grow(): void {
    const keys = this.#keys;
    const counters = this.#counters;
    const owners = this.#owners;
    const capacity = (this.#mask + 1) * 2;
    this.#mask = capacity - 1;
    this.#keys = new Uint32Array(capacity * WORDS);
    this.#counters = new Float64Array(capacity);
    this.#owners = new Uint32Array(capacity);
    this.#size = 0;
    for (let place = 0; place < owners.length; place++) {
      if (owners[place] === 0) continue;
      const key = place * WORDS;
      this.add(keys[key]!, keys, key + 1, counters[place]!, owners[place]!);
    }
  }
}
