import { CallError } from '../../src/base/call-error.ts';
import { type Column, columnOf, rowCount, stringsOf } from '../../src/base/column.ts';
import type { DomainSpec } from '../../src/base/domain.ts';
import { Plain } from '../../src/base/plain.ts';
import type { ItemError } from '../../src/base/reason.ts';
import type {
  CallBase,
  DomainView,
  Engine,
  RevealAnswer,
  TokenAnswer,
} from '../../src/engine/calls.ts';
import { StubVault } from './stub-vault.ts';

/** An engine to test the edge with: a token is its value backwards. It remembers the calls, so that
 *  tests see what the edge made of a message. `bad` in a value is VALUE_MALFORMED. */
export class ReversingEngine extends StubVault implements Engine {
  readonly domains = new Map<string, DomainView>();

  async #reverse(column: Column, call: CallBase): Promise<{ rows: Column; errors: ItemError[] }> {
    await this.remember(call);
    const errors: ItemError[] = [];
    const rows = stringsOf(column).map((row, index) => {
      if (!row.includes('bad')) return [...row].reverse().join('');
      errors.push({ index, reason: 'VALUE_MALFORMED' });
      return '';
    });
    return { rows: columnOf(rows), errors };
  }

  async #tokens(column: Column, call: CallBase): Promise<TokenAnswer> {
    const { rows: tokens, errors } = await this.#reverse(column, call);
    const created = new Uint8Array(0);
    return { tokens, errors, receipt: this.receipt(), keyVersion: 1, created, notices: [] };
  }

  tokenize: Engine['tokenize'] = (call) => this.#tokens(call.values.reveal(), call);
  lookup: Engine['lookup'] = (call) => this.#tokens(call.values.reveal(), call);
  exchange: Engine['exchange'] = (call) => this.#tokens(call.tokens, call);
  detokenize: Engine['detokenize'] = async (call): Promise<RevealAnswer> => {
    const { rows, errors } = await this.#reverse(call.tokens, call);
    const values = new Plain(rows);
    return { values, errors, receipt: this.receipt(), view: call.view, notices: [] };
  };
  inspect: Engine['inspect'] = async (call) => {
    const { errors } = await this.#reverse(call.tokens, call);
    const count = rowCount(call.tokens);
    return {
      states: Array.from({ length: count }, () => 'well-formed' as const),
      errors,
      receipt: this.receipt(),
      keyVersions: Array.from({ length: count }, () => 1),
      details: call.withDetails ? Array.from({ length: count }, () => undefined) : [],
    };
  };

  createDomain: Engine['createDomain'] = async (_caller, request) => {
    if (this.domains.has(request.id)) throw new CallError('RESOURCE_EXISTS');
    const spec: DomainSpec = {
      formatOptions: {},
      safety: 'valid',
      assigner: '',
      displayName: '',
      onInvalid: 'reject',
      subjectRequired: false,
      listable: true,
      subjectsShared: false,
      population: 0,
      note: '',
      createdMs: 1_700_000_000_123,
      disabled: false,
      ...request,
    };
    const domain = { spec, keyVersion: 1, liveTokens: 0, capacityBits: 29.9, fill: 0, etag: 'e1' };
    this.domains.set(spec.id, domain);
    return { domain, receipt: this.receipt() };
  };
  getDomain: Engine['getDomain'] = async (_caller, id) => {
    const domain = this.domains.get(id);
    if (domain === undefined) throw new CallError('ACCESS_DENIED');
    return domain;
  };
  listDomains: Engine['listDomains'] = async (_caller, after, limit) =>
    [...this.domains.values()]
      .filter(({ spec }) => spec.id > after)
      .sort((a, b) => (a.spec.id < b.spec.id ? -1 : 1))
      .slice(0, limit);
  updateDomain: Engine['updateDomain'] = async (caller, id, change, etag) => {
    const domain = await this.getDomain(caller, id);
    if (etag !== '' && etag !== domain.etag) throw new CallError('ETAG_MISMATCH');
    const changed = { ...domain, spec: { ...domain.spec, ...change }, etag: 'e2' };
    this.domains.set(id, changed);
    return { domain: changed, receipt: this.receipt() };
  };
  grantBulk: Engine['grantBulk'] = async (_caller, grant) => {
    this.calls.push(grant);
    return this.receipt();
  };
  health: Engine['health'] = () => ({ serving: true, reason: undefined });
  close: Engine['close'] = () => Promise.resolve();
}
