// `npm run generate`: src/rpc/gen from proto/ and from the third-party protos, which come out of
// registry packages and are never copied into the repository. Needs pip for google/rpc.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const modules = join(root, 'node_modules');
const require = createRequire(import.meta.url);

/** PyPI ships google/rpc whole; npm has it only inside packages of many megabytes. */
const COMMON_PROTOS = 'googleapis-common-protos==1.76.0';
const COMMON_PROTOS_SHA256 = '59e13344a9f3651aa201a03e2bee815a3bf43a4baf1f9ff8a9b62a840ce25fac';

function run(command: string, args: readonly string[], cwd: string): void {
  const path = `${join(modules, '.bin')}:${process.env['PATH'] ?? ''}`;
  execFileSync(command, args, { cwd, stdio: 'inherit', env: { ...process.env, PATH: path } });
}

/** google/rpc/{status,code,error_details}.proto under `folder`. */
function fetchGoogleRpc(work: string, folder: string): void {
  const down = join(work, 'wheel');
  run('python3', ['-m', 'pip', 'download', '-q', '--no-deps', '-d', down, COMMON_PROTOS], work);
  const [name] = readdirSync(down);
  if (name === undefined) throw new Error('pip downloaded nothing');
  const wheel = join(down, name);
  const hash = createHash('sha256').update(readFileSync(wheel)).digest('hex');
  if (hash !== COMMON_PROTOS_SHA256) throw new Error(`${name} is not the pinned package`);
  run('python3', ['-m', 'zipfile', '-e', wheel, join(work, 'unpacked')], work);
  for (const file of ['status', 'code', 'error_details']) {
    copy(join(work, `unpacked/google/rpc/${file}.proto`), join(folder, `google/rpc/${file}.proto`));
  }
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true });
}

const work = mkdtempSync(join(tmpdir(), 'lockstep-generate-'));
try {
  const foreign = join(work, 'foreign');
  copy(join(root, 'proto/lockstep'), join(work, 'proto/lockstep'));
  fetchGoogleRpc(work, foreign);
  // Clients know these by their canonical paths, not by those of the npm packages.
  const health = dirname(require.resolve('grpc-health-check/package.json'));
  copy(join(health, 'proto/health/v1/health.proto'), join(foreign, 'grpc/health/v1/health.proto'));
  for (const version of ['v1', 'v1alpha']) {
    const file = `grpc/reflection/${version}/reflection.proto`;
    copy(join(modules, '@grpc/reflection/build/proto', file), join(foreign, file));
  }
  writeFileSync(
    join(work, 'buf.yaml'),
    'version: v2\nmodules:\n  - path: proto\n  - path: foreign\n',
  );
  rmSync(join(root, 'src/rpc/gen'), { recursive: true, force: true });
  run('buf', ['generate', '--template', join(root, 'buf.gen.yaml'), '-o', root], work);
  // What reflection serves: comments kept, so that `grpcurl describe` prints them.
  run('buf', ['build', '-o', join(root, 'src/rpc/gen/image.binpb')], work);
} finally {
  rmSync(work, { recursive: true, force: true });
}
