import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2';
import {
  ChannelCredentials,
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  Metadata,
} from '@grpc/grpc-js';
import { LIMITS } from '../base/limits.ts';
import { rpcErrorOf } from './rpc-error.ts';

export interface ConnectOptions {
  /** `host:port`. */
  readonly address: string;
  /** PEM bytes: who signs servers, and the client's own certificate and key. */
  readonly transport:
    | 'plaintext'
    | { readonly ca: Buffer; readonly certificate: Buffer; readonly key: Buffer };
  /** Header by header, e.g. `lockstep-dev-caller`. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface CallOptions {
  /** Unset is 30 s for calls, none for streams. */
  readonly deadlineMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** A two-way stream. `send` resolves when the transport has room for more: wait for it, and read
 *  while you write, else the server's window closes and both wait. */
export interface ClientStream<I extends DescMessage, O extends DescMessage> {
  send(message: MessageInitShape<I>): Promise<void>;
  /** No more messages; the answers to those sent still come. */
  end(): void;
  /** Rejects with `RpcError` where the stream fails. Leaving the loop early cancels it. */
  readonly answers: AsyncIterable<MessageShape<O>>;
  cancel(): void;
}

/** Typed calls on the services of one server: `stub(TokenService).tokenize({ … })`. A stream of
 *  answers begins with the call; leaving the loop over it early cancels it. */
export type Stub<M extends GenServiceMethods> = {
  readonly [K in keyof M]: M[K]['methodKind'] extends 'unary'
    ? (
        request: MessageInitShape<M[K]['input']>,
        options?: CallOptions,
      ) => Promise<MessageShape<M[K]['output']>>
    : M[K]['methodKind'] extends 'server_streaming'
      ? (
          request: MessageInitShape<M[K]['input']>,
          options?: CallOptions,
        ) => AsyncGenerator<MessageShape<M[K]['output']>>
      : (options?: CallOptions) => ClientStream<M[K]['input'], M[K]['output']>;
};

export interface Connection {
  stub<M extends GenServiceMethods>(service: GenService<M>): Stub<M>;
  /** Bytes as they are, for load: `path` is `package.Service/Method`. Rejects with `RpcError`. */
  raw(path: string, request: Uint8Array, options?: CallOptions): Promise<Buffer>;
  close(): void;
}

/** Opens no connection yet: the first call does. */
export function connect({ address, transport, headers = {} }: ConnectOptions): Connection {
  const credentials =
    transport === 'plaintext'
      ? ChannelCredentials.createInsecure()
      : ChannelCredentials.createSsl(transport.ca, transport.key, transport.certificate);
  const client = new Client(address, credentials, CHANNEL);
  const raw = (path: string, request: Uint8Array, options: CallOptions = {}): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const deadline = Date.now() + (options.deadlineMs ?? LIMITS.deadlineDefaultMs);
      const call = client.makeUnaryRequest<Uint8Array, Buffer>(
        `/${path}`,
        bufferOf,
        (bytes) => bytes,
        request,
        metadataOf(headers, options),
        { deadline },
        (error, answer) => {
          if (error !== null || answer === undefined) reject(rpcErrorOf(error));
          else resolve(answer);
        },
      );
      options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
    });
  return {
    raw,
    stub: (service) => stubOf(service, raw, client, headers),
    close: () => client.close(),
  };
}

const CHANNEL: ClientOptions = {
  'grpc.max_receive_message_length': LIMITS.answerBytesMax,
  'grpc.keepalive_time_ms': 60_000,
  'grpc.keepalive_timeout_ms': 20_000,
  // A channel of its own a connection, not one shared with every client of the same address.
  'grpc.use_local_subchannel_pool': 1,
};

function stubOf<M extends GenServiceMethods>(
  service: GenService<M>,
  raw: Connection['raw'],
  client: Client,
  headers: Readonly<Record<string, string>>,
): Stub<M> {
  const stub: Record<string, unknown> = {};
  for (const { localName, name, input, output, methodKind } of service.methods) {
    const path = `${service.typeName}/${name}`;
    if (methodKind === 'unary') {
      stub[localName] = async (request: MessageInitShape<DescMessage>, options?: CallOptions) =>
        fromBinary(output, await raw(path, toBinary(input, create(input, request)), options));
    } else if (methodKind === 'server_streaming') {
      stub[localName] = (request: MessageInitShape<DescMessage>, options: CallOptions = {}) => {
        const call = client.makeServerStreamRequest<Uint8Array, Buffer>(
          `/${path}`,
          bufferOf,
          (bytes) => bytes,
          toBinary(input, create(input, request)),
          metadataOf(headers, options),
          deadlineOf(options),
        );
        options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
        return answersOf(call, output, failureOf(call));
      };
    } else {
      stub[localName] = (options: CallOptions = {}) => {
        const call = client.makeBidiStreamRequest<Uint8Array, Buffer>(
          `/${path}`,
          bufferOf,
          (bytes) => bytes,
          metadataOf(headers, options),
          deadlineOf(options),
        );
        options.signal?.addEventListener('abort', () => call.cancel(), { once: true });
        return streamOf(call, input, output);
      };
    }
  }
  // The mapped type ties each name to its kind and types; the loop cannot.
  return stub as Stub<M>;
}

function streamOf(
  call: ClientDuplexStream<Uint8Array, Buffer>,
  input: DescMessage,
  output: DescMessage,
): ClientStream<DescMessage, DescMessage> {
  const failure = failureOf(call);
  let room: Promise<void> | undefined;
  return {
    send: (message) => {
      if (call.destroyed || call.write(toBinary(input, create(input, message)))) {
        return Promise.resolve();
      }
      // Senders that do not wait for each other share one wait, and one pair of listeners.
      room ??= roomOf(call).finally(() => {
        room = undefined;
      });
      return room;
    },
    end: () => call.end(),
    answers: answersOf(call, output, failure),
    cancel: () => call.cancel(),
  };
}

/** grpc-js emits its error once and then looks like a stream that ended well, so who reads later
 *  must be told; and without a listener it would end the process. */
function failureOf(call: { on(event: 'error', listener: (error: unknown) => void): unknown }): {
  readonly error?: unknown;
} {
  const failure: { error?: unknown } = {};
  call.on('error', (error) => {
    failure.error = error;
  });
  return failure;
}

/** None unless told: a stream takes as long as it takes. */
const deadlineOf = ({ deadlineMs }: CallOptions): { deadline?: number } =>
  deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };

function roomOf(call: ClientDuplexStream<Uint8Array, Buffer>): Promise<void> {
  return new Promise((resolve, reject) => {
    const free = (): void => {
      call.off('close', gone);
      resolve();
    };
    const gone = (): void => {
      call.off('drain', free);
      reject(rpcErrorOf(null));
    };
    call.once('drain', free);
    call.once('close', gone);
  });
}

async function* answersOf(
  call: ClientDuplexStream<Uint8Array, Buffer> | ClientReadableStream<Buffer>,
  output: DescMessage,
  failure: { readonly error?: unknown },
): AsyncGenerator<MessageShape<DescMessage>> {
  try {
    const messages: AsyncIterable<Buffer> = call.iterator({ destroyOnReturn: false });
    for await (const bytes of messages) yield fromBinary(output, bytes);
  } catch (error) {
    throw rpcErrorOf(error);
  } finally {
    // Who stops reading early wants no more; at the end there is nothing left to cancel.
    call.cancel();
  }
  if (failure.error !== undefined) throw rpcErrorOf(failure.error);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function metadataOf(headers: Readonly<Record<string, string>>, options: CallOptions): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries({ ...headers, ...options.headers })) {
    metadata.set(name, value);
  }
  return metadata;
}
