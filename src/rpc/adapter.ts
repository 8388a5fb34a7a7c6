import { type DescMessage, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf';
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2';
import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  MethodDefinition,
  Server,
  ServerDuplexStream,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { CallError } from '../base/call-error.ts';
import { LIMITS } from '../base/limits.ts';
import type { RpcStatus } from './status.ts';
import { cutAfter } from './transport.ts';
import { malformed } from './wire.ts';
import { checkWire } from './wire-check.ts';

/** How one method's messages cross the wire. Readers throw `CallError`. */
export interface Codec<In, Out> {
  readonly read: (bytes: Buffer) => In;
  readonly write: (answer: Out) => Buffer;
}

/** Codecs of one's own for the hot methods of a service; protobuf-es does the others. */
export type Codecs<M extends GenServiceMethods> = {
  readonly [K in keyof M]?: Codec<unknown, never>;
};

type In<M extends GenServiceMethods, C, K extends keyof M> = K extends keyof C
  ? C[K] extends { read: (bytes: Buffer) => infer T }
    ? T
    : never
  : MessageShape<M[K]['input']>;
type Out<M extends GenServiceMethods, C, K extends keyof M> = K extends keyof C
  ? C[K] extends { write: (answer: infer T) => Buffer }
    ? T
    : never
  : MessageShape<M[K]['output']>;

/** Where the answers of a stream go. */
export interface Outlet<O> {
  /** Resolves once the transport took the answer; one at a time. Rejects with CALL_CANCELLED once
   *  the client has gone. */
  send(answer: O): Promise<void>;
  /** Aborted once the client has gone or the deadline has passed. */
  readonly gone: AbortSignal;
}

/** The messages of a stream as they come, and where its answers go. */
export interface Pipe<I, O> extends Outlet<O> {
  /** A message that does not parse ends it by throwing its `CallError`. */
  readonly incoming: AsyncIterable<I>;
}

/** One typed handler a method: async functions of the message, of the message and where its answers
 *  go, or of a pipe. */
export type Handlers<M extends GenServiceMethods, C, Context> = {
  readonly [K in keyof M]: M[K]['methodKind'] extends 'unary'
    ? (request: In<M, C, K>, context: Context) => Promise<Out<M, C, K>>
    : M[K]['methodKind'] extends 'server_streaming'
      ? (request: In<M, C, K>, outlet: Outlet<Out<M, C, K>>, context: Context) => Promise<void>
      : (pipe: Pipe<In<M, C, K>, Out<M, C, K>>, context: Context) => Promise<void>;
};

/** What a call needs on both sides of its handler. */
export interface Edge<Context> {
  /** Throws `CallError` where the caller cannot be identified or the server drains. */
  open(call: Call, method: string): Context;
  /** Once a call that failed: counts it, and says what the client is told. */
  failed(error: unknown, method: string, context: Context | undefined): RpcStatus;
  /** Once a call that succeeded. */
  done(method: string, context: Context): void;
}

export type Call =
  | ServerUnaryCall<Parsed<unknown>, Buffer>
  | ServerWritableStream<Parsed<unknown>, Buffer>
  | ServerDuplexStream<Parsed<unknown>, Buffer>;

/** grpc-js answers INTERNAL where a deserializer throws, so ours hands its error on. */
export type Parsed<T> = { readonly value: T } | { readonly error: unknown };

/** Serves `service` on `server`: types are kept from the descriptor to the handlers. */
export function serve<M extends GenServiceMethods, C extends Codecs<M>, Context>(
  server: Server,
  service: GenService<M>,
  codecs: C,
  handlers: Handlers<M, C, Context>,
  edge: Edge<Context>,
): void {
  const definitions: Record<string, MethodDefinition<Parsed<unknown>, Buffer>> = {};
  const implementation: Record<string, GrpcHandler> = {};
  for (const method of service.methods) {
    const name = method.localName;
    const codec = (codecs[name] ?? messageCodec(method.input, method.output)) as Codec<
      unknown,
      unknown
    >;
    const path = `${service.typeName}/${method.name}`;
    definitions[name] = definitionOf(path, method.methodKind, codec);
    // The mapped type `Handlers` ties each name to its kind and types; the loop cannot.
    const handler = handlers[name] as unknown;
    implementation[name] = implementationOf(handler, method.methodKind, codec.write, path, edge);
  }
  server.addService(definitions, implementation);
}

type GrpcHandler =
  | handleUnaryCall<Parsed<unknown>, Buffer>
  | handleServerStreamingCall<Parsed<unknown>, Buffer>
  | handleBidiStreamingCall<Parsed<unknown>, Buffer>;
type MethodKind = GenServiceMethods[string]['methodKind'];

function implementationOf<Context>(
  handler: unknown,
  kind: MethodKind,
  write: (answer: unknown) => Buffer,
  path: string,
  edge: Edge<Context>,
): GrpcHandler {
  if (kind === 'unary') return unary(handler as UnaryHandler<Context>, write, path, edge);
  if (kind === 'server_streaming') {
    return outward(handler as OutletHandler<Context>, write, path, edge);
  }
  return bidi(handler as PipeHandler<Context>, write, path, edge);
}

/** The codec of any message: strict where protobuf-es is lenient (see `checkWire`). */
export function messageCodec(input: DescMessage, output: DescMessage): Codec<unknown, unknown> {
  return {
    read: (bytes) => readMessage(input, bytes),
    write: (it) => writeMessage(output, it as MessageShape<DescMessage>),
  };
}

export function readMessage<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  checkWire(schema, bytes);
  try {
    return fromBinary(schema, bytes);
  } catch {
    throw malformed();
  }
}

export function writeMessage<D extends DescMessage>(schema: D, message: MessageShape<D>): Buffer {
  const bytes = toBinary(schema, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function definitionOf(
  path: string,
  kind: MethodKind,
  codec: Codec<unknown, unknown>,
): MethodDefinition<Parsed<unknown>, Buffer> {
  return {
    path: `/${path}`,
    requestStream: kind === 'bidi_streaming' || kind === 'client_streaming',
    responseStream: kind === 'bidi_streaming' || kind === 'server_streaming',
    requestDeserialize: (bytes) => {
      try {
        if (bytes.length > LIMITS.requestBytesMax) throw tooLarge();
        return { value: codec.read(bytes) };
      } catch (error) {
        return { error };
      }
    },
    // Written by the handler's wrapper, where a failure still becomes a status of ours.
    responseSerialize: (bytes) => bytes,
    // The client's half, which a server never calls.
    requestSerialize: () => Buffer.alloc(0),
    responseDeserialize: (bytes) => bytes,
  };
}

/** How long a client may take to read its last answers and the status of a stream that failed. */
const CUT_AFTER_MS = 5_000;

function tooLarge(): CallError {
  return new CallError('MESSAGE_TOO_LARGE', {
    metadata: { limit: String(LIMITS.requestBytesMax) },
  });
}

type UnaryHandler<Context> = (request: unknown, context: Context) => Promise<unknown>;
type OutletHandler<Context> = (
  request: unknown,
  outlet: Outlet<unknown>,
  context: Context,
) => Promise<void>;
type PipeHandler<Context> = (pipe: Pipe<unknown, unknown>, context: Context) => Promise<void>;

const unwrap = (parsed: Parsed<unknown>): unknown => {
  if ('error' in parsed) throw parsed.error;
  return parsed.value;
};

function unary<Context>(
  handler: UnaryHandler<Context>,
  write: (answer: unknown) => Buffer,
  method: string,
  edge: Edge<Context>,
): handleUnaryCall<Parsed<unknown>, Buffer> {
  return async (call, respond) => {
    let context: Context | undefined;
    try {
      context = edge.open(call, method);
      const answer = write(await handler(unwrap(call.request), context));
      edge.done(method, context);
      respond(null, answer);
    } catch (error) {
      respond(edge.failed(error, method, context));
    }
  };
}

function outward<Context>(
  handler: OutletHandler<Context>,
  write: (answer: unknown) => Buffer,
  method: string,
  edge: Edge<Context>,
): handleServerStreamingCall<Parsed<unknown>, Buffer> {
  return (call) =>
    streaming(call, method, edge, (context) =>
      handler(unwrap(call.request), outletOf(call, write), context),
    );
}

function bidi<Context>(
  handler: PipeHandler<Context>,
  write: (answer: unknown) => Buffer,
  method: string,
  edge: Edge<Context>,
): handleBidiStreamingCall<Parsed<unknown>, Buffer> {
  return (call) =>
    streaming(call, method, edge, (context) =>
      handler({ ...outletOf(call, write), incoming: values(call) }, context),
    );
}

type StreamCall =
  | ServerWritableStream<Parsed<unknown>, Buffer>
  | ServerDuplexStream<Parsed<unknown>, Buffer>;

async function streaming<Context>(
  call: StreamCall,
  method: string,
  edge: Edge<Context>,
  work: (context: Context) => Promise<void>,
): Promise<void> {
  let context: Context | undefined;
  try {
    context = edge.open(call, method);
    await work(context);
    edge.done(method, context);
    call.end();
  } catch (error) {
    // grpc-js makes the status of a stream from the error that it emits.
    call.emit('error', edge.failed(error, method, context));
    cutAfter(call, CUT_AFTER_MS);
  }
}

function outletOf(call: StreamCall, write: (answer: unknown) => Buffer): Outlet<unknown> {
  let giveUp: (() => void) | undefined;
  const gone = new AbortController();
  call.once('close', () => {
    gone.abort();
    giveUp?.();
  });
  return {
    gone: gone.signal,
    send: (answer) =>
      new Promise((resolve, reject) => {
        // grpc-js drops the callback of a write whose client is gone.
        giveUp = () => reject(new CallError('CALL_CANCELLED'));
        if (gone.signal.aborted) giveUp();
        else call.write(write(answer), () => resolve());
      }),
  };
}

async function* values(call: ServerDuplexStream<Parsed<unknown>, Buffer>): AsyncGenerator<unknown> {
  const messages = call.iterator({ destroyOnReturn: false });
  for (;;) {
    const next = await messages.next().catch((error: unknown) => {
      // Node calls a stream that its client left a premature close.
      throw call.cancelled ? new CallError('CALL_CANCELLED') : error;
    });
    if (next.done === true) break;
    yield unwrap(next.value);
  }
  if (call.cancelled) throw new CallError('CALL_CANCELLED');
}
