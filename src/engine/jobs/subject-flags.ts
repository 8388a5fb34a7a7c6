import { type Column, ColumnWriter, rowStart } from '../../base/column.ts';
import type { ItemError, Reason } from '../../base/reason.ts';
import type { PerItem } from '../../codec/domain.ts';
import type { Encoded } from '../../codec/rows.ts';
import {
  ERASED_SUBJECT,
  type FlaggedSubjects,
  RESTRICTED_SUBJECT,
} from '../../vault/tombstones.ts';
import { SUBJECT_BYTES } from './subjects.ts';

/** Subjects of one domain whose tokens cannot be taken away one by one, since there is no record of
 *  them: what was erased or stopped is told by its subject. In memory, as the vault has it. */
export class SubjectFlags {
  readonly #flags = new Map<string, number>();

  get size(): number {
    return this.#flags.size;
  }

  /** `flags` 0 forgets the subject. */
  set(subject: Uint8Array, flags: number): void {
    if (flags === 0) this.#flags.delete(nameOf(subject, 0, SUBJECT_BYTES));
    else this.#flags.set(nameOf(subject, 0, SUBJECT_BYTES), flags);
  }

  /** Of the 16 bytes from `at`; anything shorter is nobody. */
  at(subjects: Uint8Array, at: number, end: number): number {
    return end - at === SUBJECT_BYTES ? (this.#flags.get(nameOf(subjects, at, end)) ?? 0) : 0;
  }
}

/** All domains' flags; they outlive a change of the catalogue. */
export class AllSubjectFlags {
  readonly #domains = new Map<string, SubjectFlags>();

  of(domain: string): SubjectFlags {
    let flags = this.#domains.get(domain);
    if (flags === undefined) {
      flags = new SubjectFlags();
      this.#domains.set(domain, flags);
    }
    return flags;
  }

  setAll({ domain, subjects, flags }: FlaggedSubjects): void {
    const own = this.of(domain);
    for (const [i, flag] of flags.entries()) {
      own.set(subjects.subarray(i * SUBJECT_BYTES, (i + 1) * SUBJECT_BYTES), flag);
    }
  }
}

const nameOf = (bytes: Uint8Array, at: number, end: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + at, end - at).toString('latin1');

/** Opened rows without those of subjects that were erased (TOKEN_NOT_FOUND, as if the subject were
 *  another) or stopped (TOKEN_RESTRICTED, where the row did open). */
export function withoutFlagged(flags: SubjectFlags, opened: Encoded, subjects: PerItem): Encoded {
  return refuse(flags, opened, subjects, (flag, failed) => {
    if ((flag & ERASED_SUBJECT) !== 0) return 'TOKEN_NOT_FOUND';
    return (flag & RESTRICTED_SUBJECT) !== 0 && !failed ? 'TOKEN_RESTRICTED' : undefined;
  });
}

/** Sealed rows without those of subjects that were erased: a token made now would be the one of
 *  then, and nobody could read it. ERASE_REFUSED. */
export const withoutErased = (flags: SubjectFlags, sealed: Encoded, subjects: PerItem): Encoded =>
  refuse(flags, sealed, subjects, (flag, failed) =>
    (flag & ERASED_SUBJECT) !== 0 && !failed ? 'ERASE_REFUSED' : undefined,
  );

function refuse(
  flags: SubjectFlags,
  batch: Encoded,
  subjects: PerItem,
  judge: (flag: number, failed: boolean) => Reason | undefined,
): Encoded {
  if (flags.size === 0) return batch;
  const rows = batch.column.ends.length;
  const failed = new Map(batch.errors.map((error) => [error.index, error]));
  const refused = new Map<number, ItemError>();
  for (let row = 0; row < rows; row++) {
    const flag = flagOf(flags, subjects, row);
    if (flag === 0) continue;
    const reason = judge(flag, failed.has(row));
    if (reason !== undefined) refused.set(row, { index: row, reason });
  }
  if (refused.size === 0) return batch;
  for (const [row, error] of refused) failed.set(row, error);
  return {
    ...batch,
    column: blanked(batch.column, refused),
    errors: [...failed.values()].sort((a, b) => a.index - b.index),
    opaque: batch.opaque.filter((row) => !refused.has(row)),
    passed: batch.passed.filter((row) => !refused.has(row)),
  };
}

/** Those places whose subject was erased. */
export const erasedPlaces = (
  flags: SubjectFlags,
  subjects: PerItem,
  places: readonly number[],
): readonly number[] =>
  flags.size === 0
    ? []
    : places.filter((place) => (flagOf(flags, subjects, place) & ERASED_SUBJECT) !== 0);

function flagOf(flags: SubjectFlags, subjects: PerItem, row: number): number {
  if (subjects instanceof Uint8Array) return flags.at(subjects, 0, subjects.length);
  return flags.at(subjects.bytes, rowStart(subjects, row), subjects.ends[row]!);
}

function blanked(column: Column, rows: ReadonlyMap<number, ItemError>): Column {
  const out = new ColumnWriter(column.ends.length, column.bytes.length);
  for (let row = 0; row < column.ends.length; row++) {
    if (!rows.has(row)) out.append(column.bytes, rowStart(column, row), column.ends[row]!);
    out.endRow();
  }
  return out.finish();
}
