import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, connect } from 'node:http2';
import { performance } from 'node:perf_hooks';
import type { Shot, Volley } from './load.ts';
import { framesOf } from './payloads.ts';

/** One volley at one server, from a process of its own: the shot comes as JSON on the command
 *  line, the volley goes to stdout. It speaks HTTP/2 without a gRPC library and sends requests
 *  made before, so that the server is what is measured. */
async function main(): Promise<void> {
  const shot = JSON.parse(process.argv[2] ?? '') as Shot;
  const { callsMax = Number.POSITIVE_INFINITY } = shot;
  const frames = framesOf(readFileSync(shot.payloads.framesFile));
  const sessions = Array.from({ length: shot.connections }, () =>
    connect(`http://${shot.address}`, { settings: { initialWindowSize: 1 << 20 } }),
  );
  const latencies: number[] = [];
  let failed = 0;
  let next = 0;
  const startMs = performance.now();
  const endMs =
    shot.callsMax === undefined ? startMs + shot.seconds * 1_000 : Number.POSITIVE_INFINITY;
  const lanes = Array.from({ length: shot.concurrency }, async (_, lane) => {
    const session = sessions[lane % sessions.length]!;
    while (next < callsMax && performance.now() < endMs) {
      const frame = frames[next++ % frames.length]!;
      const sentMs = performance.now();
      if (await call(session, shot.payloads.path, frame))
        latencies.push(performance.now() - sentMs);
      else failed += 1;
    }
  });
  await Promise.all(lanes);
  const seconds = (performance.now() - startMs) / 1_000;
  for (const session of sessions) session.close();
  latencies.sort((a, b) => a - b);
  const at = (share: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
  const volley: Volley = {
    calls: latencies.length,
    failed,
    seconds,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
  process.stdout.write(JSON.stringify(volley));
}

/** Whether the call ended with status OK. */
function call(session: ClientHttp2Session, path: string, frame: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/${path}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': '20S',
    });
    let status: unknown;
    let bytes = 0;
    stream.on('response', (headers) => {
      status = headers['grpc-status'];
    });
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    stream.on('close', () => resolve(Number(status) === 0 && bytes > 5));
    stream.on('error', () => resolve(false));
    stream.end(frame);
  });
}

await main();
