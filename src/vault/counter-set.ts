/** Counters a page holds: 8 KiB. */
const PAGE = 65_536;

/** A set of counters at one bit each where they are dense, as counters are. */
export class CounterSet {
  readonly #pages = new Map<number, Uint8Array>();

  has(counter: number): boolean {
    const page = this.#pages.get(Math.floor(counter / PAGE));
    const at = counter % PAGE;
    return page !== undefined && (page[at >> 3]! & (1 << (at & 7))) !== 0;
  }

  /** False where it was there already. */
  add(counter: number): boolean {
    const number = Math.floor(counter / PAGE);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE / 8);
      this.#pages.set(number, page);
    }
    const at = counter % PAGE;
    const bit = 1 << (at & 7);
    if ((page[at >> 3]! & bit) !== 0) return false;
    page[at >> 3]! |= bit;
    return true;
  }

  /** False where it was not there. */
  delete(counter: number): boolean {
    const page = this.#pages.get(Math.floor(counter / PAGE));
    if (page === undefined) return false;
    const at = counter % PAGE;
    const bit = 1 << (at & 7);
    if ((page[at >> 3]! & bit) === 0) return false;
    page[at >> 3]! &= ~bit;
    return true;
  }

  /** In no order. */
  *[Symbol.iterator](): Generator<number> {
    for (const [number, page] of this.#pages) {
      for (let at = 0; at < PAGE; at++) {
        if ((page[at >> 3]! & (1 << (at & 7))) !== 0) yield number * PAGE + at;
      }
    }
  }
}
