import { randomInt, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { create, toBinary } from '@bufbuild/protobuf';
import { View } from '../../src/rpc/gen/lockstep/v1/common_pb.ts';
import {
  DetokenizeRequestSchema,
  TokenizeRequestSchema,
} from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import type { Scratch } from './processes.ts';

export const TOKENIZE = 'lockstep.v1.TokenService/Tokenize';
const DETOKENIZE = 'lockstep.v1.TokenService/Detokenize';
const TREAT = 'TREAT';

/** Requests made before any clock runs; the load goes round them. */
export interface Payloads {
  readonly path: string;
  readonly items: number;
  /** A list a request. */
  readonly values: readonly (readonly string[])[];
  /** gRPC frames one after another: what our own client sends as it is. */
  readonly framesFile: string;
  /** An array of messages: what ghz takes. */
  readonly jsonFile: string;
}

/** Random values of nine digits, without repetition inside a request. */
export function randomDigits(count: number): string[] {
  const values = new Set<string>();
  while (values.size < count) values.add(String(randomInt(1_000_000_000)).padStart(9, '0'));
  return [...values];
}

/** `count` requests of `items` values each, all different. */
export function tokenizePayloads(
  scratch: Scratch,
  domain: string,
  items: number,
  count: number,
): Payloads {
  const batches = Array.from({ length: count }, () => ({ domain, values: randomDigits(items) }));
  const frames = batches.map((batch) =>
    frameOf(toBinary(TokenizeRequestSchema, create(TokenizeRequestSchema, batch))),
  );
  const values = batches.map((batch) => batch.values);
  return written(scratch, TOKENIZE, values, frames, batches);
}

/** Requests whose values are numbers of nine digits, scattered as a linear congruence does it, so
 *  that a hundred million of them differ: from `first` on, or as a function says. */
export function orderedPayloads(
  scratch: Scratch,
  domain: string,
  first: number | (() => number),
  items: number,
  count: number,
): Payloads {
  let next = typeof first === 'number' ? first : 0;
  const number = typeof first === 'number' ? (): number => next++ : first;
  const values = Array.from({ length: count }, () =>
    Array.from({ length: items }, () => scattered(number())),
  );
  const frames = values.map((each) =>
    frameOf(
      toBinary(TokenizeRequestSchema, create(TokenizeRequestSchema, { domain, values: each })),
    ),
  );
  const framesFile = scratch.path('requests.bin');
  writeFileSync(framesFile, Buffer.concat(frames));
  return { path: TOKENIZE, items, values, framesFile, jsonFile: '' };
}

/** 387,420,489 is 3^18 and shares no factor with 10^9, so this is a permutation. */
const scattered = (number: number): string =>
  String(Number((BigInt(number) * 387_420_489n) % 1_000_000_000n)).padStart(9, '0');

/** Likewise for a dynamic domain: each names itself, so that a retry would mint nothing. */
export function mintPayloads(
  scratch: Scratch,
  domain: string,
  items: number,
  count: number,
): Payloads {
  const batches = Array.from({ length: count }, () => ({
    domain,
    values: randomDigits(items),
    requestId: randomUUID(),
  }));
  const frames = batches.map((batch) =>
    frameOf(toBinary(TokenizeRequestSchema, create(TokenizeRequestSchema, batch))),
  );
  const values = batches.map((batch) => batch.values);
  return written(scratch, TOKENIZE, values, frames, batches);
}

/** Requests that reveal `tokens`, a list each. */
export function detokenizePayloads(
  scratch: Scratch,
  domain: string,
  tokens: readonly (readonly string[])[],
): Payloads {
  const view = View.PLAIN;
  const batches = tokens.map((each) => ({ domain, tokens: [...each], purpose: TREAT, view }));
  const frames = batches.map((batch) =>
    frameOf(toBinary(DetokenizeRequestSchema, create(DetokenizeRequestSchema, batch))),
  );
  return written(scratch, DETOKENIZE, tokens, frames, batches);
}

function written(
  scratch: Scratch,
  path: string,
  values: readonly (readonly string[])[],
  frames: readonly Buffer[],
  messages: readonly object[],
): Payloads {
  const framesFile = scratch.path('requests.bin');
  const jsonFile = scratch.path('requests.json');
  writeFileSync(framesFile, Buffer.concat(frames));
  writeFileSync(jsonFile, JSON.stringify(messages));
  return { path, items: values[0]?.length ?? 0, values, framesFile, jsonFile };
}

/** gRPC over HTTP/2, "Length-Prefixed-Message": a flag, four bytes of length, the message. */
export function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

/** The frames of a file, as views. */
export function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return frames;
}
