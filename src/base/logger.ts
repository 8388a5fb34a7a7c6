import { type DestinationStream, destination, pino, stdTimeFunctions } from 'pino';
import { CallError } from './call-error.ts';

/** Structured logs with one rule: no values. An event is a fixed name; a field is a number, a
 *  boolean, or one of the texts named below, each held to its own pattern. What does not fit is
 *  written as `[redacted]`, so that a slip costs a log line and not a patient's name. */
export interface Logger {
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields, cause?: unknown): void;
  error(event: string, fields?: LogFields, cause?: unknown): void;
  /** Writes out what is buffered; for the last line before an exit. */
  flush(): void;
}

export type LogFields = TextFields & {
  readonly [name: string]: number | boolean | string | undefined;
};

/** The only texts a line may carry. None of them can hold a value, token, subject or context. */
export type TextFields = { readonly [Name in keyof typeof TEXTS]?: string | undefined };

const ID = /^[a-zA-Z0-9_.:/@%=+-]{1,255}$/;
const UPPER = /^[A-Z][A-Z0-9_:]{0,63}$/;
const WORD = /^[a-z][a-z0-9-]{0,63}$/;
const TEXTS = {
  /** Caller id, a certificate's URI or SAN. */
  caller: ID,
  organisation: WORD,
  domain: /^[a-z0-9-]{1,63}(\/[a-z0-9-]{1,63})?$/,
  /** Service and method of the contract. */
  method: /^[a-zA-Z0-9.]{1,80}\/[a-zA-Z]{1,40}$/,
  reason: UPPER,
  /** Status, CKR or store code. */
  code: UPPER,
  purpose: UPPER,
  /** Id of the policy that decided. */
  rule: WORD,
  /** Role and version of a key, never a handle. */
  key: ID,
  state: WORD,
  signal: /^SIG[A-Z0-9]{2,10}$/,
  address: /^[a-zA-Z0-9.:[\]-]{1,255}$/,
  version: /^[a-zA-Z0-9.+-]{1,64}$/,
  /** A path of the configuration, e.g. a data folder. */
  path: /^[\w./@+-]{1,255}$/,
  library: /^[\w .()/+-]{1,200}$/,
} as const satisfies Readonly<Record<string, RegExp>>;

export const REDACTED = '[redacted]';
export type LogLevel = 'info' | 'warn' | 'error' | 'silent';

/** JSON lines on stderr, or on `stream`: `time` (RFC 3339), `level`, `service`, `event`, fields. */
export function openLogger(options: { level?: LogLevel; stream?: DestinationStream } = {}): Logger {
  const stream = options.stream ?? destination({ fd: 2, sync: true });
  const sink = pino(
    {
      level: options.level ?? 'info',
      // The host name and pid are the supervisor's to add; the service's name is all we add.
      base: { service: 'lockstep' },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
  const line = (event: string, fields: LogFields, cause: unknown) => ({
    event: WORD.test(event) ? event : REDACTED,
    ...safeFields(fields),
    ...(cause === undefined ? {} : { cause: safeCause(cause) }),
  });
  return {
    info: (event, fields = {}) => sink.info(line(event, fields, undefined)),
    warn: (event, fields = {}, cause = undefined) => sink.warn(line(event, fields, cause)),
    error: (event, fields = {}, cause = undefined) => sink.error(line(event, fields, cause)),
    flush: () => sink.flush(),
  };
}

function safeFields(fields: LogFields): Record<string, number | boolean | string> {
  const safe: Record<string, number | boolean | string> = {};
  for (const [name, field] of Object.entries(fields)) {
    if (field === undefined) continue;
    safe[name] = typeof field === 'string' ? safeText(name, field) : safeNumber(field);
  }
  return safe;
}

function safeText(name: string, text: string): string {
  const pattern: RegExp | undefined = Object.hasOwn(TEXTS, name)
    ? TEXTS[name as keyof typeof TEXTS]
    : undefined;
  return pattern?.test(text) === true ? text : REDACTED;
}

const safeNumber = (field: unknown): number | boolean | string =>
  typeof field === 'number' || typeof field === 'boolean' ? field : REDACTED;

interface SafeCause {
  readonly name: string;
  readonly reason?: string;
  readonly code?: string;
  readonly at: readonly string[];
  readonly cause?: SafeCause;
}

const CAUSES_MAX = 4;
const FRAMES_MAX = 12;
/** A frame as V8 writes it, in a file named in full, as no text of a message would be. */
const FRAME =
  /^ {4}at (?:async )?([\w.<>#$ [\]]{1,120} )?\(?(?:file:\/\/\/|\/|node:)(?:[^\s()]*\/)?([\w.@+-]+:\d+:\d+)\)?$/;

/** An error without its message, since a foreign message may quote input: its name, its code, and
 *  the frames of its stack as function and file. */
function safeCause(cause: unknown, depth = 1): SafeCause {
  if (!(cause instanceof Error)) return { name: typeof cause, at: [] };
  const code: unknown = 'code' in cause ? cause.code : undefined;
  const inner = depth < CAUSES_MAX && cause.cause !== undefined;
  return {
    name: /^\w{1,64}$/.test(cause.name) ? cause.name : 'Error',
    ...(cause instanceof CallError ? { reason: cause.reason } : {}),
    ...(typeof code === 'string' && UPPER.test(code) ? { code } : {}),
    at: frames(cause),
    ...(inner ? { cause: safeCause(cause.cause, depth + 1) } : {}),
  };
}

function frames(cause: Error): string[] {
  // The message comes first in a stack and may have lines that look like frames: it is cut off,
  // and where it cannot be found there, nothing of the stack is trusted.
  const stack = cause.stack ?? '';
  const header = /^[\w$]{1,64}(?: \[\w{1,64}\])?(?:: )?/.exec(stack)?.[0] ?? '';
  if (!stack.startsWith(`${cause.message}\n`, header.length)) return [];
  const lines = stack.slice(header.length + cause.message.length).split('\n');
  const found: string[] = [];
  for (const line of lines) {
    const match = FRAME.exec(line);
    if (match !== null) found.push(`${match[1] ?? ''}${match[2]}`);
    if (found.length === FRAMES_MAX) break;
  }
  return found;
}
