import { CallError } from '../base/call-error.ts';
import type { DomainSpec } from '../base/domain.ts';
import { writeFileAtomic } from '../keys/catalogue-file.ts';
import type { CatalogueState } from './job.ts';
import type { KeyLane } from './key-lane.ts';

/** Keeps the worker's catalogue and the one on the disk the same. One change at a time. */
export class CatalogueKeeper {
  readonly #lane: KeyLane;
  readonly #path: string;
  #state: CatalogueState;

  constructor(lane: KeyLane, path: string, state: CatalogueState) {
    this.#lane = lane;
    this.#path = path;
    this.#state = state;
  }

  get state(): CatalogueState {
    return this.#state;
  }

  /** Adds or changes a domain; on the disk when it resolves. Where the disk refuses, the worker
   *  goes back to the old catalogue and the call fails with STORE_UNAVAILABLE. */
  async put(spec: DomainSpec): Promise<CatalogueState> {
    const next = await this.#lane.control({ control: 'put-domain', spec });
    try {
      writeFileAtomic(this.#path, Buffer.from(next.text, 'utf8'));
    } catch (cause) {
      await this.#lane.control({ control: 'reload', catalogue: this.#state.text });
      throw new CallError('STORE_UNAVAILABLE', { cause });
    }
    this.#state = next;
    return next;
  }
}
