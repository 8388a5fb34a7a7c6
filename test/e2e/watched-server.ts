import { join } from 'node:path';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { expect } from 'vitest';
import { REASONS, type Reason } from '../../src/base/reason.ts';
import type { Connection, Stub } from '../../src/rpc/client.ts';
import { GRPC_CODE } from '../../src/rpc/codes.ts';
import { View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import { DomainService } from '../../src/rpc/gen/lockstep/v1/domain_service_pb.ts';
import {
  DetokenizeRequestSchema,
  ExchangeRequestSchema,
  TokenizeRequestSchema,
  type TokenizeResponse,
  TokenizeResponseSchema,
  TokenService,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import {
  cleanEnv,
  devClient,
  lockstep,
  metric,
  type ServerProcess,
  startDevServer,
  temporaryFolder,
} from './processes.ts';
import { type RawAnswer, RawClient, type RawOptions, TOKEN_SERVICE } from './raw-call.ts';

/** A value that its domain takes, as a good call. */
export const GOOD = '529-31-0047';
/** Stands in everything bad that is sent, and may come back nowhere. */
export const CANARY = 'kanarie7Q';

const SCHEMAS = {
  Tokenize: TokenizeRequestSchema,
  Detokenize: DetokenizeRequestSchema,
  Exchange: ExchangeRequestSchema,
} as const;
type Verb = keyof typeof SCHEMAS;

export const tokenizeBytes = (fields: MessageInitShape<typeof TokenizeRequestSchema>): Uint8Array =>
  toBinary(TokenizeRequestSchema, create(TokenizeRequestSchema, fields));

/** A development server that is looked at after each bad call: nothing echoed, nothing half
 *  written, still at work. */
export class WatchedServer {
  readonly #folder = temporaryFolder();
  #server!: ServerProcess;
  #client!: Connection;
  #raw!: RawClient;
  #goodToken = '';

  static async start(): Promise<WatchedServer> {
    const watched = new WatchedServer();
    await watched.#open();
    const answer = await watched.tokens.tokenize({ domain: 'ssn', values: [GOOD] });
    watched.#goodToken = answer.tokens[0]!;
    return watched;
  }

  async #open(): Promise<void> {
    this.#server = await startDevServer(this.#folder.path);
    this.#client = devClient(this.#server);
    this.#raw = new RawClient(this.#server.address);
  }

  /** Of the good value, in the domain `ssn`. */
  get goodToken(): string {
    return this.#goodToken;
  }

  get server(): ServerProcess {
    return this.#server;
  }

  get tokens(): Stub<typeof TokenService.method> {
    return this.#client.stub(TokenService);
  }

  clientOf(caller: string): Connection {
    return devClient(this.#server, caller);
  }

  /** Bytes as they are. */
  raw(verb: string, message: Uint8Array, options?: RawOptions): Promise<RawAnswer> {
    return this.#raw.call(`${TOKEN_SERVICE}/${verb}`, message, options);
  }

  send<V extends Verb>(
    verb: V,
    fields: MessageInitShape<(typeof SCHEMAS)[V]>,
    options?: RawOptions,
  ): Promise<RawAnswer> {
    const schema = SCHEMAS[verb];
    const message = create(schema, fields as MessageInitShape<typeof schema>);
    return this.raw(verb, toBinary(schema, message), options);
  }

  async liveTokens(domain: string): Promise<number> {
    const answer = await this.#client.stub(DomainService).getDomain({ domain });
    return Number(answer.domain?.liveTokens ?? -1n);
  }

  leaves(): Promise<number> {
    return metric(this.#server, 'lockstep_log_leaves');
  }

  /** A call that is refused as a whole: status, fixed text, reason; no trace of it but, for a
   *  denial, its leaf. */
  async refuses(call: () => Promise<RawAnswer>, reason: Reason): Promise<RawAnswer> {
    const before = [await this.leaves(), await this.liveTokens('ssn')];
    const answer = await call();
    const { code, text } = REASONS[reason];
    expect([answer.reason, answer.status, answer.message]).toEqual([reason, GRPC_CODE[code], text]);
    expect(answer.body).toHaveLength(0);
    this.echoesNothing(answer);
    const denied = reason === 'ACCESS_DENIED' || reason === 'VIEW_DENIED' ? 1 : 0;
    const after = [await this.leaves(), await this.liveTokens('ssn')];
    expect(after).toEqual([before[0]! + denied, before[1]]);
    await this.works();
    return answer;
  }

  /** A Tokenize with one bad value between two good ones: only the bad one fails. */
  async failsItem(domain: string, good: string, bad: string, reason: Reason): Promise<void> {
    const known = await this.tokens.tokenize({
      domain,
      values: [good],
      requestId: `good-${domain}`,
    });
    const before = [await this.leaves(), await this.liveTokens('ssn')];
    const answer = await this.send('Tokenize', { domain, values: [good, bad, good] });
    expect([answer.status, answer.reason]).toEqual([0, '']);
    const { tokens, errors }: TokenizeResponse = fromBinary(TokenizeResponseSchema, answer.body);
    expect(tokens).toEqual([known.tokens[0], '', known.tokens[0]]);
    const { code, retry: retryable } = REASONS[reason];
    expect(errors).toMatchObject([{ index: 1, code: GRPC_CODE[code], reason, retryable }]);
    this.echoesNothing(answer);
    expect(answer.everything).not.toContain(bad === '' ? CANARY : bad.slice(0, 64));
    const after = [await this.leaves(), await this.liveTokens('ssn')];
    expect(after).toEqual([before[0]! + 1, before[1]]);
    await this.works();
  }

  echoesNothing(answer?: RawAnswer): void {
    for (const text of [answer?.everything ?? '', this.#server.output()]) {
      expect(text).not.toContain(CANARY);
      expect(text).not.toContain(GOOD);
      // A stack trace, or a path of the sources.
      expect(text).not.toMatch(/\n\s+at |node:internal|\.ts\b|node_modules/);
    }
  }

  /** The process lives, and a good call is answered as before. */
  async works(): Promise<void> {
    expect(this.#server.alive()).toBe(true);
    const answer = await this.tokens.tokenize({ domain: 'ssn', values: [GOOD] });
    expect(answer.tokens).toEqual([this.#goodToken]);
    const purpose = 'TREAT';
    const reveal = { domain: 'ssn', tokens: answer.tokens, purpose, view: View.PLAIN };
    expect((await this.tokens.detokenize(reveal)).values).toEqual([GOOD]);
  }

  /** By `lockstep log verify`, beside the running server. */
  async logIsWhole(): Promise<void> {
    const config = join(this.#folder.path, 'lockstep.toml');
    const env = cleanEnv({ SOFTHSM2_CONF: join(this.#folder.path, 'softhsm/softhsm2.conf') });
    const { code, stdout, stderr } = await lockstep(['log', 'verify', '--config', config], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^verdict +whole$/m);
  }

  async restart(): Promise<void> {
    await this.#close();
    await this.#open();
  }

  async #close(): Promise<void> {
    this.#client.close();
    this.#raw.close();
    expect(await this.#server.stop()).toBe(0);
  }

  /** Once the log was verified; whatever is found, the server ends. */
  async stop(): Promise<void> {
    try {
      await this.logIsWhole();
      await this.#close();
    } finally {
      await this.#server.kill();
      this.#folder.remove();
    }
  }
}
