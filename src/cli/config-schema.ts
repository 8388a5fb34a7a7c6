import { isIP } from 'node:net';
import { z } from 'zod';
import { ACTIONS, faultsOfCallers } from '../policy/grants.ts';

/** `lockstep.toml`, validated: every field is there, with its default where the file is silent.
 *  No field holds a secret. Paths are absolute once loaded. src/cli/lockstep.toml shows it all. */
export type Config = z.infer<typeof configSchema>;

const LABEL = /^[\w.-]{1,64}$/;

const address = z
  .string()
  .refine((text) => addressHost(text) !== undefined, 'HOST:PORT is wanted, port 0 to 65535');
const path = z.string().min(1, 'a path is wanted');
const label = z.string().regex(LABEL, 'a label of 1 to 64 of A-Z a-z 0-9 _ . - is wanted');
const whole = (min: number, max: number) => z.int().min(min).max(max);

const server = z.strictObject({
  /** Where gRPC listens. */
  address: address.default('127.0.0.1:50051'),
  /** PEM files; read again when they change. */
  cert: path.optional(),
  key: path.optional(),
  /** PEM file of the authorities whose client certificates are accepted. */
  client_ca: path.optional(),
  /** `loopback` serves without TLS on a loopback address; `insecure-anywhere` says what it is. */
  plaintext: z.enum(['no', 'loopback', 'insecure-anywhere']).default('no'),
});

const admin = z.strictObject({
  address: address
    .refine((text) => isLoopback(addressHost(text) ?? ''), 'a loopback address is wanted')
    .default('127.0.0.1:9464'),
});

const moduleTable = z.strictObject({
  /** The PKCS#11 library, e.g. /usr/lib/softhsm/libsofthsm2.so. */
  library: path,
  /** Label of the token (CKA_LABEL of the slot's token, at most 32 characters). */
  token: z.string().min(1).max(32),
  /** File that holds the PIN; its last newline is not part of it. The PIN stands nowhere else. */
  pin_source: path,
  /** Label of the root key that wraps the domains' keys. */
  root: label.default('lockstep.root.v1'),
  /** `wrapped`: the root has a copy in another module, or is one; else it must be the only one. */
  root_backup: z.enum(['none', 'wrapped']).default('none'),
  /** A call into the module that takes longer ends the process, for its supervisor to restart. */
  call_limit_ms: whole(1_000, 600_000).default(30_000),
});

const data = z.strictObject({
  folder: path,
  /** Where backups go; `backups` in the folder by default. Better another disk. */
  backups: path.optional(),
  /** Below this much free space the vault takes no writes; below a quarter of it nothing is
   *  answered that leaves an entry in the log. */
  low_space_mib: whole(0, 1_048_576).default(64),
  /** Kept in reserve, as a file: a vault on a full disk needs it to open. At least twice LevelDB's
   *  write buffer, which is 4 MiB. */
  ballast_mib: whole(0, 65_536)
    .refine((mib) => mib === 0 || mib >= 8, '0 for none, or at least 8, is wanted')
    .default(16),
});

const log = z.strictObject({
  /** First line of every checkpoint (C2SP tlog-checkpoint): a name of this log, e.g. a host and
   *  path. It never changes. */
  origin: z.string().regex(/^[^\s+]{1,200}$/u, 'a name without spaces and "+" is wanted'),
  /** Label of the Ed25519 key pair that signs checkpoints. */
  checkpoint: label.default('lockstep.checkpoint.v1'),
});

const policy = z.strictObject({
  /** A folder of Cedar files; without it the starter policy decides. */
  folder: path.optional(),
});

const grant = z.strictObject({
  actions: z.array(z.enum(ACTIONS)).min(1),
  domains: z.array(z.string()).min(1),
  purposes: z.array(z.string()).default([]),
});

const caller = z.strictObject({
  id: z.string().min(1).max(255),
  organisation: z.string(),
  grants: z.array(grant).default([]),
});

const limits = z.strictObject({
  /** Distinct items of deterministic kinds, a caller, domain and day; also at most 1 % of the
   *  format. */
  keyed_items_per_day: whole(1, 1_000_000_000).default(1_000_000),
  /** Reveals, and look-ups of vaulted tokens, a caller, domain and day. */
  revealed_items_per_day: whole(1, 1_000_000_000).default(10_000),
  /** Jobs that may wait for the key worker; more is OVERLOADED. */
  key_jobs_waiting: whole(1, 100_000).default(4_096),
  /** Open calls on one connection. */
  streams_per_connection: whole(1, 100_000).default(1_000),
  connection_idle_s: whole(10, 86_400).default(900),
  connection_age_s: whole(60, 604_800).default(3_600),
  /** How long a stop waits for calls under way. */
  drain_s: whole(1, 600).default(30),
});

const logging = z.strictObject({ level: z.enum(['info', 'warn', 'error']).default('info') });

/** A table that may be left out, as if it stood there empty. */
const table = <Schema extends z.ZodType>(schema: Schema) => schema.prefault({} as never);

export const configSchema = z
  .strictObject({
    server: table(server),
    admin: table(admin),
    module: moduleTable,
    data,
    log,
    policy: table(policy),
    callers: z.array(caller).default([]),
    limits: table(limits),
    logging: table(logging),
  })
  .superRefine((config, context) => {
    const fault = (place: readonly (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path: [...place], message });
    checkServer(config.server, fault);
    for (const text of faultsOfCallers(config.callers)) fault(['callers'], text);
  });

/** Paths of fields that name files or folders: made absolute against the file's own folder. */
export const PATH_FIELDS = [
  'server.cert',
  'server.key',
  'server.client_ca',
  'module.library',
  'module.pin_source',
  'data.folder',
  'data.backups',
  'policy.folder',
] as const;

const NUMBERS: ReadonlySet<string> = new Set(['call_limit_ms', 'low_space_mib', 'ballast_mib']);

/** What the environment may set: every field of every table, with how its text is read.
 *  `callers` is a list and stands in the file alone. */
export const SCALAR_FIELDS: ReadonlyMap<string, 'text' | 'number'> = new Map(
  Object.entries({
    server,
    admin,
    module: moduleTable,
    data,
    log,
    policy,
    limits,
    logging,
  }).flatMap(([table, schema]) =>
    Object.keys(schema.shape).map((field): [string, 'text' | 'number'] => [
      `${table}.${field}`,
      table === 'limits' || NUMBERS.has(field) ? 'number' : 'text',
    ]),
  ),
);

type Fault = (place: readonly string[], message: string) => void;

function checkServer(table: z.infer<typeof server>, fault: Fault): void {
  const files = ['cert', 'key', 'client_ca'] as const;
  if (table.plaintext === 'no') {
    for (const name of files) {
      if (table[name] !== undefined) continue;
      fault(['server', name], 'wanted, since server.plaintext is "no": clients prove who they are');
    }
    return;
  }
  for (const name of files) {
    if (table[name] === undefined) continue;
    fault(['server', name], `not used, since server.plaintext is "${table.plaintext}"`);
  }
  const host = addressHost(table.address);
  // An address that is none has its own fault already.
  if (table.plaintext !== 'loopback' || host === undefined || isLoopback(host)) return;
  fault(['server', 'address'], 'a loopback address is wanted where server.plaintext = "loopback"');
}

/** The host of HOST:PORT, or undefined where it is not of that form. */
export function addressHost(text: string): string | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([a-zA-Z0-9.-]+)):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[3]) > 65_535) return undefined;
  if (match[1] !== undefined) return isIP(match[1]) === 6 ? match[1] : undefined;
  return match[2];
}

/** By number alone: a name may resolve to anything. */
export const isLoopback = (host: string): boolean =>
  host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
