import { createHash, timingSafeEqual } from 'node:crypto';
import type { DomainSpec } from '../base/domain.ts';
import { canonicalJson } from './canonical-json.ts';
import { catalogueFault } from './catalogue-shape.ts';
import type { WrappedKey } from './key.ts';

/** Everything the engine knows about its keys: which exist, wrapped by what, for which domain. */
export interface Catalogue {
  readonly format: 1;
  /** From 1, one more at every change. */
  readonly generation: number;
  /** Random, 32 hex digits: tells one installation's catalogue from another's. */
  readonly installation: string;
  readonly keys: readonly WrappedKey[];
  readonly domains: readonly DomainSpec[];
}

/** CMAC under the installation's `catalogue` key; 16 bytes. Given from outside, since the modes are
 *  built on top of the keys. */
export type Mac = (bytes: Uint8Array) => Uint8Array;

/** The catalogue does not parse, or is not the one that was sealed. `message` never holds input. */
export class CatalogueError extends Error {
  override readonly name = 'CatalogueError';
}

/** SHA-256 of the canonical bytes: what the MAC covers, and what the log records at every change so
 *  that an old catalogue is seen. */
export const catalogueHash = (catalogue: Catalogue): Uint8Array =>
  Uint8Array.from(createHash('sha256').update(canonicalJson(catalogue)).digest());

/** The envelope as it lies on the disk: canonical JSON `{"catalogue":…,"mac":…}`, a newline. */
export function sealCatalogue(catalogue: Catalogue, mac: Mac): Uint8Array {
  const tag = Buffer.from(mac(catalogueHash(catalogue))).toString('hex');
  return Buffer.from(`${canonicalJson({ catalogue, mac: tag })}\n`, 'utf8');
}

/** Opens an envelope. Strict: a field too many, a key twice, a space added, any flipped bit is a
 *  `CatalogueError`. The MAC is compared in constant time. */
export function openCatalogue(bytes: Uint8Array, mac: Mac): Catalogue {
  const { catalogue, tag } = parse(bytes);
  const wanted = mac(catalogueHash(catalogue));
  if (tag.length !== wanted.length || !timingSafeEqual(tag, wanted)) {
    throw new CatalogueError('the catalogue is not the one that was sealed');
  }
  return catalogue;
}

/** The newest wrapped `catalogue` key of an envelope that is NOT yet authenticated: unwrap it,
 *  check its check value, and open the envelope with it. Believe nothing else before that. */
export function peekCatalogueKey(bytes: Uint8Array): WrappedKey {
  let newest: WrappedKey | undefined;
  for (const key of parse(bytes).catalogue.keys) {
    if (key.owner !== '' || key.role !== 'catalogue') continue;
    if (newest === undefined || key.version > newest.version) newest = key;
  }
  if (newest === undefined) throw new CatalogueError('the catalogue has no key of its own');
  return newest;
}

function parse(bytes: Uint8Array): { catalogue: Catalogue; tag: Buffer } {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  let envelope: unknown;
  try {
    envelope = JSON.parse(text);
  } catch {
    throw new CatalogueError('the catalogue is not JSON');
  }
  const { catalogue, mac } = readEnvelope(envelope);
  // What was parsed must be all there is: duplicate names and other spellings would hide here.
  const again = Buffer.from(`${canonicalJson({ catalogue, mac })}\n`, 'utf8');
  if (!again.equals(bytes)) throw new CatalogueError('the catalogue is not in canonical form');
  return { catalogue, tag: Buffer.from(mac, 'hex') };
}

function readEnvelope(value: unknown): { catalogue: Catalogue; mac: string } {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 2) {
    throw new CatalogueError('the catalogue has no envelope');
  }
  const mac: unknown = Reflect.get(value, 'mac');
  if (typeof mac !== 'string' || !/^[0-9a-f]{32}$/.test(mac)) {
    throw new CatalogueError('the catalogue has no MAC');
  }
  const catalogue: unknown = Reflect.get(value, 'catalogue');
  const fault = catalogueFault(catalogue);
  if (fault !== undefined) throw new CatalogueError(`the catalogue has a bad field: ${fault}`);
  return { catalogue: catalogue as Catalogue, mac };
}
