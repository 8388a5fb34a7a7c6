import { once } from 'node:events';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack, durationMs } from '@bufbuild/protobuf/wkt';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from '../../src/rpc/gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../src/rpc/gen/google/rpc/status_pb.ts';

export const TOKEN_SERVICE = '/lockstep.v1.TokenService';

/** How a call ended, read straight off HTTP/2: nothing of our client is between. */
export interface RawAnswer {
  /** `grpc-status`; NaN where the server gave none. */
  readonly status: number;
  readonly message: string;
  /** Of ErrorInfo; '' without. */
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Of BadRequest. */
  readonly fields: readonly string[];
  readonly retryDelayMs: number | undefined;
  /** The message of the answer, without its frame; empty where there is none. */
  readonly body: Buffer;
  /** All headers, trailers, details and bytes, to search for what must not be there. */
  readonly everything: string;
}

export interface RawOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes of the body as they are, without the frame of gRPC. */
  readonly unframed?: boolean;
}

/** One connection to a plaintext server, on which any bytes can be sent. */
export class RawClient {
  readonly #session: ClientHttp2Session;

  constructor(address: string) {
    this.#session = connect(`http://${address}`);
    this.#session.on('error', () => {});
  }

  async call(path: string, message: Uint8Array, options: RawOptions = {}): Promise<RawAnswer> {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...options.headers,
    });
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('response', (got) => {
      headers = got;
    });
    stream.on('trailers', (got) => {
      trailers = got;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.end(options.unframed === true ? message : framed(message));
    await once(stream, 'close');
    return answerOf({ ...headers, ...trailers }, Buffer.concat(chunks));
  }

  close(): void {
    this.#session.destroy();
  }
}

/** Length-prefixed, not compressed. */
export function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function answerOf(headers: IncomingHttpHeaders, bytes: Buffer): RawAnswer {
  const packed = Buffer.from(String(headers['grpc-status-details-bin'] ?? ''), 'base64');
  const status = fromBinary(StatusSchema, packed);
  const unpacked = {
    reason: '',
    metadata: {} as Record<string, string>,
    fields: [] as string[],
    retryDelayMs: undefined as number | undefined,
  };
  for (const any of status.details) {
    const info = anyUnpack(any, ErrorInfoSchema);
    if (info?.domain === 'lockstep') {
      unpacked.reason = info.reason;
      unpacked.metadata = info.metadata;
    }
    const bad = anyUnpack(any, BadRequestSchema);
    if (bad !== undefined) unpacked.fields = bad.fieldViolations.map(({ field }) => field);
    const retry = anyUnpack(any, RetryInfoSchema)?.retryDelay;
    if (retry !== undefined) unpacked.retryDelayMs = durationMs(retry);
  }
  return {
    status: Number(headers['grpc-status'] ?? Number.NaN),
    message: decodeURIComponent(String(headers['grpc-message'] ?? '')),
    ...unpacked,
    body: bytes.subarray(5),
    everything: [
      JSON.stringify(headers),
      decodeURIComponent(String(headers['grpc-message'] ?? '')),
      packed.toString('latin1'),
      bytes.toString('latin1'),
    ].join('\n'),
  };
}
