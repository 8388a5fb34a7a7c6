import { verifyProof } from '../audit/checkpoint.ts';
import { decodeEntry, type Entry } from '../audit/entry.ts';
import { base64, formatNote, openNote, type Verifier, verifierOf } from '../audit/note.ts';
import { leafHash } from '../audit/tree.ts';

/** What stands first, so that a certificate never passes for a checkpoint, which begins with the
 *  origin of its log. */
const TITLE = 'lockstep-erasure/v1';

/** A leaf with everything that proves it. */
export interface ProvenLeaf {
  readonly index: number;
  /** As hashed. */
  readonly entry: Uint8Array;
  /** C2SP tlog-proof. */
  readonly proof: string;
}

export interface ErasureLeaf extends ProvenLeaf {
  /** Sealed under the installation's keys: what was erased, to be erased again after a loss of the
   *  log. undefined where it was too long to travel along. */
  readonly body: Uint8Array | undefined;
}

/** What a certificate says. It names no value, token or patient. */
export interface ErasureCertificate {
  /** `unreadable`: no call gets the values any more. `gone`: their sealed bytes have left the
   *  files too. */
  readonly stage: 'unreadable' | 'gone';
  readonly origin: string;
  /** Id of the installation. */
  readonly installation: string;
  /** When the certificate was made. */
  readonly timeMs: number;
  /** Who erased, why and how. */
  readonly caller: string;
  readonly purpose: string;
  readonly mode: 'delete' | 'unlink';
  /** Tokens that ended, by domain, in the order of the leaves; 0 where only what is bound to the
   *  patient was shut off. */
  readonly domains: readonly { readonly domain: string; readonly tokens: number }[];
  /** Domains that were asked for and whose kind keeps nothing that could be taken away. */
  readonly cannotErase: readonly { readonly domain: string; readonly kind: string }[];
  /** The call's leaves, ascending. */
  readonly leaves: readonly ErasureLeaf[];
  /** False where the call broke off before its last leaf. */
  readonly complete: boolean;
  /** The leaf that says that the bytes are gone. */
  readonly compacted: ProvenLeaf | undefined;
}

/** What a certificate is made of; the rest follows from its leaves. */
export type CertificateParts = Pick<
  ErasureCertificate,
  'origin' | 'installation' | 'timeMs' | 'cannotErase' | 'leaves' | 'compacted'
>;

/** The text to be signed. Throws RangeError where the leaves are not those of one call. */
export function certificateText(parts: CertificateParts): string {
  const { stage, caller, purpose, mode, domains, complete } = summaryOf(parts);
  const lines = [
    TITLE,
    `origin ${parts.origin}`,
    `installation ${parts.installation}`,
    `time ${new Date(parts.timeMs).toISOString()}`,
    `stage ${stage}`,
    `caller ${JSON.stringify(caller)}`,
    `purpose ${JSON.stringify(purpose)}`,
    `mode ${mode}`,
    ...(complete ? [] : ['incomplete']),
    ...domains.map(({ domain, tokens }) => `domain ${domain} tokens ${tokens}`),
    ...parts.cannotErase.map(({ domain, kind }) => `cannot-erase ${domain} ${kind}`),
  ];
  for (const leaf of parts.leaves) {
    lines.push(...leafLines('leaf', leaf));
    if (leaf.body !== undefined) lines.push(`body ${text64(leaf.body)}`);
  }
  if (parts.compacted !== undefined) lines.push(...leafLines('compacted', parts.compacted));
  return `${lines.join('\n')}\n`;
}

const leafLines = (word: string, { index, entry, proof }: ProvenLeaf): string[] => [
  `${word} ${index} ${text64(leafHash(entry))}`,
  `entry ${Buffer.from(entry).toString('utf8')}`,
  `proof ${text64(Buffer.from(proof, 'utf8'))}`,
];

const text64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

type Summary = Pick<
  ErasureCertificate,
  'stage' | 'caller' | 'purpose' | 'mode' | 'domains' | 'complete'
>;

function summaryOf({ leaves, compacted }: CertificateParts): Summary {
  const entries = leaves.map(({ entry }) => decodeEntry(entry));
  const first = entries[0];
  const last = entries[entries.length - 1];
  check(first !== undefined && last !== undefined, 'a certificate has a leaf');
  let commitMax = 0;
  for (const [i, entry] of entries.entries()) {
    const { part, parts, previous, mode } = extraOf(entry);
    check(entry.verb === 'Erase' && entry.caller === first.caller, 'the leaves are of one call');
    check(part === i + 1 && parts === extraOf(first).parts, 'the leaves are of one call');
    check(previous === leaves[i - 1]?.index && mode === extraOf(first).mode, 'in their order');
    commitMax = Math.max(commitMax, entry.commit ?? 0);
  }
  if (compacted !== undefined) {
    const { verb, extra } = decodeEntry(compacted.entry);
    const upTo = extra?.['upTo'];
    check(verb === 'ErasureCompacted' && typeof upTo === 'number', 'no leaf of a compaction');
    check(upTo >= commitMax && compacted.index > leaves[leaves.length - 1]!.index, 'too early');
  }
  const domains = new Map<string, number>();
  for (const entry of entries) {
    if (entry.domain === '') continue;
    domains.set(entry.domain, (domains.get(entry.domain) ?? 0) + extraOf(entry).tokens);
  }
  const { part, parts, mode } = extraOf(last);
  return {
    stage: compacted === undefined ? 'unreadable' : 'gone',
    caller: first.caller,
    purpose: first.purpose,
    mode,
    domains: Array.from(domains, ([domain, tokens]) => ({ domain, tokens })),
    complete: part === parts,
  };
}

/** The extra fields of an Erase. Throws RangeError. */
export function extraOf({ extra = {} }: Entry): {
  readonly mode: 'delete' | 'unlink';
  readonly tokens: number;
  readonly part: number;
  readonly parts: number;
  readonly previous: number | undefined;
} {
  const { mode, tokens, part, parts, previous } = extra;
  check(mode === 'delete' || mode === 'unlink', 'mode');
  check(typeof tokens === 'number' && typeof part === 'number', 'tokens and part');
  check(typeof parts === 'number' && typeof previous !== 'string', 'parts and previous');
  return { mode, tokens, part, parts, previous };
}

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new RangeError(what);
}

/** The signed note. */
export const signedCertificate = (
  text: string,
  verifier: Verifier,
  signature: Uint8Array,
): string => formatNote(text, verifier, signature);

/** Reads a certificate and checks everything in it, with the log's public key (raw Ed25519, 32
 *  bytes) and nothing else: the signature, each leaf's proof, and that all it says follows from the
 *  leaves. Throws, also after any change of a byte that it speaks of: `NoteError`, `AuditError` or
 *  RangeError. */
export const verifyCertificate = (
  certificate: string,
  origin: string,
  publicKey: Uint8Array,
): ErasureCertificate => verifyCertificateBy(certificate, verifierOf(origin, publicKey));

/** Likewise, by a verifier of the log, whose name is the log's origin. */
export function verifyCertificateBy(certificate: string, verifier: Verifier): ErasureCertificate {
  const { text } = openNote(Buffer.from(certificate, 'utf8'), [verifier]);
  const parts = parse(text);
  check(parts.origin === verifier.name, 'the certificate is of another log');
  // One certificate has one text: whatever its lines say that its leaves do not shows here.
  check(certificateText(parts) === text, 'the certificate does not say what its leaves say');
  for (const leaf of [...parts.leaves, ...(parts.compacted ? [parts.compacted] : [])]) {
    const { index } = verifyProof(leaf.proof, leaf.entry, verifier);
    check(index === leaf.index, 'a proof is of another leaf');
  }
  return { ...parts, ...summaryOf(parts) };
}

function parse(text: string): CertificateParts {
  const lines = text.slice(0, -1).split('\n');
  check(lines.shift() === TITLE, 'not a certificate of an erasure');
  const fields = new Map<string, string>();
  const cannotErase: { domain: string; kind: string }[] = [];
  const leaves: { index: number; lines: Map<string, string> }[] = [];
  const compacted: { index: number; lines: Map<string, string> }[] = [];
  let current = fields;
  for (const line of lines) {
    const space = line.indexOf(' ');
    const word = space < 0 ? line : line.slice(0, space);
    const rest = space < 0 ? '' : line.slice(space + 1);
    if (word === 'leaf' || word === 'compacted') {
      current = new Map();
      const index = Number(rest.split(' ')[0]);
      (word === 'leaf' ? leaves : compacted).push({ index, lines: current });
    } else if (word === 'cannot-erase') {
      const [domain = '', kind = ''] = rest.split(' ');
      cannotErase.push({ domain, kind });
    } else current.set(word, rest);
  }
  check(compacted.length <= 1, 'one compaction');
  const last = compacted[0];
  return {
    origin: fields.get('origin') ?? '',
    installation: fields.get('installation') ?? '',
    timeMs: Date.parse(fields.get('time') ?? ''),
    cannotErase,
    leaves: leaves.map((leaf) => ({ ...provenLeaf(leaf), body: bodyOf(leaf.lines) })),
    compacted: last && provenLeaf(last),
  };
}

function provenLeaf(leaf: { index: number; lines: ReadonlyMap<string, string> }): ProvenLeaf {
  const proof = base64(leaf.lines.get('proof') ?? '');
  check(proof !== undefined && Number.isSafeInteger(leaf.index), 'a leaf and its proof');
  const entry = Buffer.from(leaf.lines.get('entry') ?? '', 'utf8');
  return { index: leaf.index, entry, proof: Buffer.from(proof).toString('utf8') };
}

function bodyOf(lines: ReadonlyMap<string, string>): Uint8Array | undefined {
  const text = lines.get('body');
  if (text === undefined) return undefined;
  const bytes = base64(text);
  check(bytes !== undefined && bytes.length > 0, 'a body');
  return bytes;
}
