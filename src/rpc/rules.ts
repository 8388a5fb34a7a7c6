import { create } from '@bufbuild/protobuf';
import {
  type Duration,
  durationFromMs,
  durationMs,
  type Timestamp,
  timestampFromMs,
  timestampMs,
} from '@bufbuild/protobuf/wkt';
import type { CallRules } from '../engine/calls.ts';
import { type TokenRules, TokenRulesSchema } from './gen/lockstep/v1/token_service_pb.ts';
import { invalid, tooLong } from './validate.ts';

const LABELS_MAX = 8;
const LABEL_BYTES_MAX = 64;
const IDLE_MS_MIN = 1_000;
/** As far as a Duration goes (google/protobuf/duration.proto): about 10,000 years. */
const IDLE_S_MAX = 315_576_000_000n;
/** 9999-12-31T23:59:59Z, the last second of a Timestamp. */
const EXPIRE_S_MAX = 253_402_300_799n;

/** The rules that a call brings for the records it makes; undefined where it names none. Times are
 *  cut to milliseconds, towards the sooner end. Throws `CallError`. */
export function rulesOf(rules: TokenRules | undefined, nowMs: number): CallRules | undefined {
  if (rules === undefined) return undefined;
  const idleMs = idleOf(rules.idleTtl);
  const expireMs = expireOf(rules.expireTime, nowMs);
  const { revealsMax, labels } = rules;
  checkLabels(labels);
  const none = idleMs === 0 && expireMs === 0 && revealsMax === 0 && labels.length === 0;
  return none ? undefined : { idleMs, expireMs, revealsMax, labels };
}

function idleOf(ttl: Duration | undefined): number {
  if (ttl === undefined) return 0;
  const { seconds, nanos } = ttl;
  const inside = seconds >= 0n && seconds <= IDLE_S_MAX && isFraction(nanos);
  const ms = inside ? Number(seconds) * 1_000 + Math.floor(nanos / 1_000_000) : 0;
  if (ms < IDLE_MS_MIN) {
    throw invalid({ field: 'rules.idle_ttl', text: 'is not a duration of a second or more' });
  }
  return ms;
}

function expireOf(time: Timestamp | undefined, nowMs: number): number {
  if (time === undefined) return 0;
  const { seconds, nanos } = time;
  const inside = seconds >= 0n && seconds <= EXPIRE_S_MAX && isFraction(nanos);
  const ms = inside ? Number(seconds) * 1_000 + Math.floor(nanos / 1_000_000) : 0;
  if (ms <= nowMs) throw invalid({ field: 'rules.expire_time', text: 'is not in the future' });
  return ms;
}

const isFraction = (nanos: number): boolean => nanos >= 0 && nanos <= 999_999_999;

function checkLabels(labels: readonly string[]): void {
  if (labels.length > LABELS_MAX) {
    throw invalid({ field: 'rules.labels', text: `has more than ${LABELS_MAX} entries` });
  }
  for (const [i, label] of labels.entries()) {
    const field = `rules.labels[${i}]`;
    if (label === '') throw invalid({ field, text: 'is empty' });
    if (Buffer.byteLength(label) > LABEL_BYTES_MAX) throw tooLong(field, LABEL_BYTES_MAX);
    if (label.includes('\uFFFD')) throw invalid({ field, text: 'holds U+FFFD' });
  }
}

/** Fields that are 0 or none stay unset. */
export function wireRules(rules: CallRules): TokenRules {
  const { idleMs, expireMs, revealsMax, labels } = rules;
  return create(TokenRulesSchema, {
    ...(idleMs === 0 ? {} : { idleTtl: durationFromMs(idleMs) }),
    ...(expireMs === 0 ? {} : { expireTime: timestampFromMs(expireMs) }),
    revealsMax,
    labels: [...labels],
  });
}

/** Rules as an answer has them; 0 and none where unset. */
export function readRules(rules: TokenRules | undefined): CallRules {
  const { idleTtl, expireTime, revealsMax = 0, labels = [] } = rules ?? {};
  return { idleMs: spanOf(idleTtl), expireMs: msOf(expireTime), revealsMax, labels };
}

const spanOf = (span: Duration | undefined): number => (span === undefined ? 0 : durationMs(span));

/** 0 where unset. */
export const msOf = (time: Timestamp | undefined): number =>
  time === undefined ? 0 : timestampMs(time);
