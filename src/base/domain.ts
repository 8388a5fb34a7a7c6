/** How tokens of a domain are made. */
export type Kind = 'fpe' | 'siv' | 'static' | 'dynamic' | 'one-way' | 'transform';
/** `never-real` is mode X: no token can be a real identifier. `valid` is mode V: it passes the
 *  format's validator. */
export type Safety = 'never-real' | 'valid';
/** What becomes of a value outside the format. */
export type OnInvalid = 'reject' | 'tokenize-opaque' | 'pass';
export type View = 'plain' | 'masked' | 'redacted';
export type Delivery = 'best-effort' | 'all-or-nothing' | 'ordered-stop';

/** A domain: one format, one kind of token, one set of keys, one policy scope. `id`, `kind`,
 *  `format`, `formatOptions`, `safety` and `assigner` never change: they fix the tokens' bytes. */
export interface DomainSpec {
  /** `organisation/name`, each `[a-z0-9-]{1,63}`. */
  readonly id: string;
  readonly kind: Kind;
  /** Name with its parameters, e.g. `digits:9`, `ssn`, `alphanumeric:6-12`. */
  readonly format: string;
  readonly formatOptions: Readonly<Record<string, string>>;
  readonly safety: Safety;
  /** URI of the authority that issues the values (MRN); '' where the format names none. */
  readonly assigner: string;
  readonly displayName: string;
  readonly onInvalid: OnInvalid;
  /** Every item needs a subject; its tokens are bound to it. */
  readonly subjectRequired: boolean;
  /** Dynamic domains: whether the tokens of a value can be listed. */
  readonly listable: boolean;
  /** Static domains: a record is shared by all subjects it was made for and bound to none. */
  readonly subjectsShared: boolean;
  /** Members of the format the domain expects to hold; 0 where not declared. */
  readonly population: number;
  /** Why an unusual choice was made (safety V, a low-entropy format); '' where none was needed. */
  readonly note: string;
  readonly createdMs: number;
  readonly disabled: boolean;
}

/** Share of a small format's tokens, in per cent, at which drawing stops: beyond it free ones are
 *  ever harder to find, and soon there are none. */
export const DRAWN_FILL_MAX_PERCENT = 90;

export const DOMAIN_ID = /^[a-z0-9-]{1,63}\/[a-z0-9-]{1,63}$/;
