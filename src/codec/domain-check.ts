import { CallError } from '../base/call-error.ts';
import { DOMAIN_ID, type DomainSpec, DRAWN_FILL_MAX_PERCENT } from '../base/domain.ts';
import { LIMITS } from '../base/limits.ts';
import type { Reason } from '../base/reason.ts';
import { type CompiledDomain, compileDomain, isVaulted } from './domain.ts';
import { parseFormat } from './format/catalogue.ts';
import { type Format, FPE_SIZE_MIN } from './format/format.ts';
import { FOREIGN, type RadixFormat } from './format/radix.ts';

/** What a new domain is asked to be; unset fields take the format's own defaults. */
export type DomainWish = Pick<DomainSpec, 'id' | 'kind' | 'format'> &
  Partial<Omit<DomainSpec, 'id' | 'kind' | 'format' | 'createdMs' | 'disabled'>>;

/** A complete spec, not yet checked. Throws `CallError` where the format does not parse, or where
 *  mode X is the default but its range is below twice the declared population. */
export function defaultsFor(wish: DomainWish, createdMs: number): DomainSpec {
  const format = parseFormat(wish.format, wish.formatOptions ?? {});
  const population = wish.population ?? 0;
  const printed = !(wish.kind === 'fpe' || wish.kind === 'static' || wish.kind === 'dynamic');
  const safety = wish.safety ?? (printed ? 'never-real' : format.defaultSafety);
  const crowded = BigInt(2 * Math.max(0, Math.trunc(population))) > format.neverRealSize;
  const drawnX = !printed && wish.kind !== 'fpe' && safety === 'never-real';
  if (wish.safety === undefined && drawnX && format.family !== 'opaque' && crowded) {
    refuse('FORMAT_TOO_SMALL', 'safety', 'mode X has under twice the population; state a safety');
  }
  return {
    id: wish.id,
    kind: wish.kind,
    format: wish.format,
    formatOptions: wish.formatOptions ?? {},
    safety,
    assigner: wish.assigner ?? '',
    displayName: wish.displayName ?? '',
    onInvalid: wish.onInvalid ?? 'reject',
    subjectRequired: wish.subjectRequired ?? false,
    listable: wish.listable ?? true,
    subjectsShared: wish.subjectsShared ?? false,
    population,
    note: wish.note ?? '',
    createdMs,
    disabled: false,
  };
}

/** Every refusal of the design, one `CallError` with one violation each; answers the compiled
 *  domain where there is none. Run before a domain is written; a written one is only compiled. */
export function checkDomain(spec: DomainSpec): CompiledDomain {
  checkFields(spec);
  const domain = compileDomain(spec);
  const { format } = domain;
  if (format.assignerRequired && spec.assigner === '') {
    refuse('FIELD_REQUIRED', 'assigner', 'equal numbers of two assigners are two people');
  }
  if (spec.kind === 'fpe') checkFpe(domain);
  else if (isVaulted(spec)) checkVaulted(domain);
  else checkPrinted(spec);
  if (spec.onInvalid === 'tokenize-opaque') checkOpaque(domain);
  checkShared(spec);
  checkNotes(spec, format);
  return domain;
}

const URI = /^[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+$/;
const ASSIGNER_MAX = 256;

function checkFields(spec: DomainSpec): void {
  if (!DOMAIN_ID.test(spec.id)) {
    refuse('FIELD_INVALID', 'id', 'must be organisation/name, each [a-z0-9-]{1,63}');
  }
  const { assigner, population } = spec;
  if (assigner !== '' && (!URI.test(assigner) || assigner.length > ASSIGNER_MAX)) {
    refuse('FIELD_INVALID', 'assigner', `must be a URI of at most ${ASSIGNER_MAX} characters`);
  }
  if (!Number.isSafeInteger(population) || population < 0) {
    refuse('FIELD_INVALID', 'population', 'must be a whole number below 2^53');
  }
  if (Buffer.byteLength(spec.note) > LIMITS.noteBytesMax) {
    refuse('FIELD_INVALID', 'note', `must be at most ${LIMITS.noteBytesMax} bytes`);
  }
  const transform = spec.formatOptions['transform'];
  if (spec.kind !== 'transform' && transform !== undefined) {
    refuse('FIELD_INVALID', 'format_options', 'transform is a setting of kind transform');
  }
  if (transform !== undefined && transform !== 'mask' && transform !== 'redact') {
    refuse('FIELD_INVALID', 'format_options', 'transform must be one of: mask, redact');
  }
}

function checkFpe({ spec, format, tokens }: CompiledDomain): void {
  if (spec.subjectRequired) {
    refuse('KIND_UNSUPPORTED', 'subject_required', 'a tweak is no guard: use siv, static, dynamic');
  }
  if (format.size < FPE_SIZE_MIN) tooSmall('format', 'FPE needs a million members or more');
  if (format.family === 'opaque') {
    refuse('KIND_UNSUPPORTED', 'kind', 'the format has no members to permute: use siv or static');
  }
  if (smallestFpe(format) < FPE_SIZE_MIN) {
    tooSmall('format', 'FPE needs a million members or more at its shortest length');
  }
  if (spec.safety !== 'never-real') return;
  if (format.family === 'radix') {
    if (tokens === undefined) tooSmall('safety', 'no token of this format is certain to be unreal');
    return;
  }
  const room = format.neverReal?.size ?? 0;
  if (format.valid.length > 1 || room < format.valid[0]!.size) {
    tooSmall('safety', 'mode X has fewer members than the format: use static, or V with a note');
  }
}

/** Members of the smallest permutation that FPE would run: one length, one shape. */
function smallestFpe(format: Exclude<Format, { family: 'opaque' }>): bigint {
  if (format.family === 'ranked') {
    return BigInt(Math.min(...format.valid.map((language) => language.size)));
  }
  return BigInt(format.alphabet.length) ** BigInt(format.min - (format.luhn ? 1 : 0));
}

function checkVaulted({ spec, tokens, counterLimit, drawn }: CompiledDomain): void {
  if (tokens === undefined) {
    tooSmall('safety', 'no token of this format is certain to be unreal');
  }
  // Drawing stops before the last token.
  const share = drawn ? DRAWN_FILL_MAX_PERCENT / 100 : 1;
  if (spec.population > counterLimit * share)
    tooSmall('population', 'the tokens are fewer than that');
}

/** A shared record is bound to nobody, and only a record has a set of subjects. */
function checkShared(spec: DomainSpec): void {
  if (!spec.subjectsShared) return;
  if (spec.kind !== 'static') {
    refuse('FIELD_INVALID', 'subjects_shared', 'only records of kind static are shared');
  }
  if (spec.subjectRequired) {
    refuse('FIELD_INVALID', 'subjects_shared', 'a token is bound to its subject or shared');
  }
  if (spec.onInvalid === 'tokenize-opaque') {
    refuse('FIELD_INVALID', 'subjects_shared', 'an opaque token has no record to share');
  }
}

function checkPrinted(spec: DomainSpec): void {
  if (spec.safety === 'valid') {
    refuse('FIELD_INVALID', 'safety', 'tokens of this kind never pass the validator of a format');
  }
  if (spec.kind !== 'siv' && spec.onInvalid === 'tokenize-opaque') {
    refuse('FIELD_INVALID', 'on_invalid', 'an opaque token can be revealed; this kind cannot');
  }
}

/** An opaque token must not read as a token of the format. */
function checkOpaque({ tokens, opaqueLead }: CompiledDomain): void {
  if (tokens?.family !== 'radix' || apart(tokens.format, tokens.dress.lead, opaqueLead)) return;
  refuse('FIELD_INVALID', 'on_invalid', 'opaque tokens would look like tokens of the format');
}

function apart(format: RadixFormat, lead: Uint8Array, opaqueLead: Uint8Array): boolean {
  const shared = Math.min(lead.length, opaqueLead.length);
  for (let i = 0; i < shared; i++) if (lead[i] !== opaqueLead[i]) return true;
  // The rest of the lead is characters of the value, or the value's own separators.
  return opaqueLead.subarray(lead.length).some((byte) => format.classes[byte] === FOREIGN);
}

function checkNotes(spec: DomainSpec, format: Format): void {
  if (spec.note !== '') return;
  const inLanguage = spec.kind === 'fpe' || isVaulted(spec);
  if (inLanguage && spec.safety === 'valid' && format.defaultSafety === 'never-real') {
    refuse('NOTE_REQUIRED', 'note', 'such tokens can be real identifiers: say why');
  }
  const equalTokens = spec.kind !== 'dynamic' && spec.kind !== 'transform';
  if (format.lowEntropy && equalTokens) {
    refuse('NOTE_REQUIRED', 'note', 'equal values get equal tokens, so frequency tells: say why');
  }
}

function tooSmall(field: string, text: string): never {
  refuse('FORMAT_TOO_SMALL', field, text);
}

function refuse(reason: Reason, field: string, text: string): never {
  throw new CallError(reason, { violations: [{ field, text }] });
}
