/** What stands for a counter where an item gets none. */
export const REFUSED = {
  /** Its index row is damaged. */
  damaged: -1,
  /** No counter is free. */
  exhausted: -2,
  /** The domain mints no more. */
  closed: -3,
  /** An imported token, or its value, has another partner. */
  taken: -4,
} as const;
