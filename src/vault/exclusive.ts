/** Lets one at a time work on each of several named things. */
export class Exclusive {
  readonly #last = new Map<string, Promise<unknown>>();

  /** Runs `work` once all earlier work on any of `names` has ended, however it ended. Names are
   *  taken all at once, so no two ever wait for each other. */
  async run<T>(names: readonly string[], work: () => Promise<T>): Promise<T> {
    const before = names.map((name) => this.#last.get(name));
    const done = Promise.withResolvers<void>();
    for (const name of names) this.#last.set(name, done.promise);
    try {
      await Promise.all(before);
      return await work();
    } finally {
      for (const name of names) {
        if (this.#last.get(name) === done.promise) this.#last.delete(name);
      }
      done.resolve();
    }
  }
}
