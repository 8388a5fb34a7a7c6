import type { Authenticator } from '../auth/authenticator.ts';
import { addressOf } from '../auth/dev.ts';
import { CallError } from '../base/call-error.ts';
import type { Caller } from '../base/caller.ts';
import type { Logger } from '../base/logger.ts';
import type { CallEnd, Metrics } from '../base/metrics.ts';
import { REASONS } from '../base/reason.ts';
import type { Call, Edge } from './adapter.ts';
import type { CallContext } from './context.ts';
import { callErrorOf, type RpcStatus, statusOf } from './status.ts';
import { connectionOf } from './transport.ts';

export interface EdgeOptions {
  readonly authenticator: Authenticator;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'call'> | undefined;
  readonly draining: AbortSignal;
}

/** What surrounds every handler: who calls, until when, how it is counted, what an error says. */
export class CallEdge implements Edge<CallContext> {
  readonly #options: EdgeOptions;
  /** What a connection's certificate says, since Node parses it anew for each who asks. */
  readonly #certificates = new WeakMap<object, { readonly san: string | undefined }>();
  /** Calls under way. */
  active = 0;

  constructor(options: EdgeOptions) {
    this.#options = options;
  }

  open(call: Call, method: string): CallContext {
    this.active++;
    const startedAt = performance.now();
    const caller = this.#identify(call);
    const deadline = call.getDeadline();
    const deadlineMs = typeof deadline === 'number' ? deadline : deadline.getTime();
    if (deadlineMs <= Date.now()) throw new CallError('DEADLINE_PASSED');
    return {
      caller,
      startedAt,
      deadlineMs,
      cancelled: () => call.cancelled || Date.now() >= deadlineMs,
      draining: this.#options.draining,
      idempotencyKey: headerOf(call, 'idempotency-key') ?? '',
      errorOf: (error) => callErrorOf(error, method, this.#options.logger),
      done: 0,
      failed: 0,
    };
  }

  failed(error: unknown, method: string, context: CallContext | undefined): RpcStatus {
    const failure = callErrorOf(error, method, this.#options.logger);
    const { code } = REASONS[failure.reason];
    this.#ended(method, context, code, failure.reason);
    return statusOf(failure);
  }

  done(method: string, context: CallContext): void {
    this.#ended(method, context, 'OK', 'OK');
  }

  #ended(
    method: string,
    context: CallContext | undefined,
    code: CallEnd['code'],
    reason: CallEnd['reason'],
  ): void {
    this.active--;
    this.#options.metrics?.call({
      method,
      code,
      reason,
      seconds: context === undefined ? 0 : (performance.now() - context.startedAt) / 1_000,
      done: context?.done ?? 0,
      failed: context?.failed ?? 0,
    });
  }

  #identify(call: Call): Caller {
    return this.#options.authenticator.identify({
      address: addressOf(call.getPeer()),
      certificateSan: this.#certificateSan(call),
      metadata: (name) => headerOf(call, name),
    });
  }

  #certificateSan(call: Call): string | undefined {
    const connection = connectionOf(call);
    if (connection === undefined) return sanOf(call);
    let known = this.#certificates.get(connection);
    if (known === undefined) {
      known = { san: sanOf(call) };
      this.#certificates.set(connection, known);
    }
    return known.san;
  }
}

/** Undefined without TLS, and for a certificate that TLS has not verified. */
function sanOf(call: Call): string | undefined {
  return call.getAuthContext().sslPeerCertificate?.subjectaltname;
}

function headerOf(call: Call, name: string): string | undefined {
  const first = call.metadata.get(name)[0];
  return typeof first === 'string' ? first : undefined;
}
