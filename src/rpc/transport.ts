import { constants } from 'node:http2';
import { ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';
import { LIMITS } from '../base/limits.ts';

type Listener = Parameters<ServerInterceptingCall['start']>[0];

/** A stream that keeps at most 4 batches beyond the last answer that the transport took; then it
 *  stops reading, and HTTP/2's flow control holds the sender. Without it grpc-js would read ahead
 *  as many messages as Node buffers objects, and more while answers wait. */
class StreamWindow extends ServerInterceptingCall {
  #ahead = 0;
  #readWaits = false;

  override startRead(): void {
    if (this.#ahead >= LIMITS.streamBatchesAhead) {
      this.#readWaits = true;
      return;
    }
    super.startRead();
  }

  override start(listener: Listener): void {
    super.start({
      onReceiveMetadata: (metadata) => listener.onReceiveMetadata(metadata),
      onReceiveMessage: (message) => {
        this.#ahead++;
        listener.onReceiveMessage(message);
      },
      onReceiveHalfClose: () => listener.onReceiveHalfClose(),
      onCancel: () => listener.onCancel(),
    });
  }

  override sendMessage(message: unknown, taken: () => void): void {
    super.sendMessage(message, () => {
      this.#ahead--;
      if (this.#readWaits) {
        this.#readWaits = false;
        this.startRead();
      }
      taken();
    });
  }
}

/** Puts the window around streams. */
export const windowStreams: ServerInterceptor = (method, call) =>
  // The type asks for the class, grpc-js for its methods alone; a unary call needs no wrapper.
  method.requestStream ? new StreamWindow(call) : (call as ServerInterceptingCall);

interface Http2Stream {
  readonly session: object | undefined;
  close(code: number): void;
  once(event: 'close', listener: () => void): void;
}

/** The HTTP/2 stream under a call. grpc-js has no door to it, so this reaches in, and finds nothing
 *  should its insides change: callers then do without. Tests see that it is found. */
function http2StreamOf(call: object): Http2Stream | undefined {
  let inner: unknown = Reflect.get(call, 'call');
  for (let depth = 0; depth < 4 && typeof inner === 'object' && inner !== null; depth++) {
    const stream: unknown = Reflect.get(inner, 'stream');
    if (isHttp2Stream(stream)) return stream;
    inner = Reflect.get(inner, 'nextCall');
  }
  return undefined;
}

function isHttp2Stream(stream: unknown): stream is Http2Stream {
  return typeof stream === 'object' && stream !== null && 'session' in stream && 'close' in stream;
}

/** Something that lives as long as the connection of a call, to keep what is known of it by. */
export function connectionOf(call: object): object | undefined {
  return http2StreamOf(call)?.session ?? undefined;
}

/** Resets a call's stream if it is still open after `ms`: one whose client takes nothing more, so
 *  that the status would wait for ever behind the answers. The stream of grpc-js is no guide here:
 *  it is destroyed at the first error, while the HTTP/2 stream below it lives on. */
export function cutAfter(call: object, ms: number): void {
  const stream = http2StreamOf(call);
  if (stream === undefined) return;
  const cut = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), ms);
  cut.unref();
  stream.once('close', () => clearTimeout(cut));
}
