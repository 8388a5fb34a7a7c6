/** The documented limits (proto/README.md), enforced before any module or disk work. */
export const LIMITS = {
  itemsMax: 10_000,
  /** Of Inspect with details. */
  detailedItemsMax: 1_000,
  valueBytesMax: 4 * 1024,
  freeTextBytesMax: 32 * 1024,
  fpeCharactersMax: 512,
  contextBytesMax: 64,
  subjectBytesMax: 256,
  requestIdBytesMax: 64,
  purposeBytesMax: 32,
  noteBytesMax: 500,
  requestBytesMax: 2 * 1024 * 1024,
  answerBytesMax: 4 * 1024 * 1024,
  deadlineDefaultMs: 30_000,
  deadlineMaxMs: 600_000,
  streamStallMs: 60_000,
  streamBatchesAhead: 4,
  pageEntriesMax: 1_000,
} as const;
