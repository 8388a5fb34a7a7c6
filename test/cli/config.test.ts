import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigError, type Environment, loadConfig, printConfig } from '../../src/cli/config.ts';
import { PATH_FIELDS, SCALAR_FIELDS } from '../../src/cli/config-schema.ts';

const folder = mkdtempSync(join(tmpdir(), 'lockstep-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const file = join(folder, 'lockstep.toml');
const load = (text: string, env: Environment = {}) => {
  writeFileSync(file, text);
  return loadConfig(file, env);
};

/** The faults as `path: text`. */
function faults(text: string, env: Environment = {}): string[] {
  try {
    load(text, env);
  } catch (cause) {
    if (cause instanceof ConfigError) return cause.faults.map((one) => `${one.path}: ${one.text}`);
    throw cause;
  }
  return [];
}

const GOOD = `
[server]
plaintext = "loopback"
[module]
library = "module.so"
token = "lockstep"
pin_source = "secret/pin"
[data]
folder = "/var/lib/lockstep"
[log]
origin = "log.example/one"
`;
const CALLER = `
[[callers]]
id = "spiffe://a.example/ehr"
organisation = "a"
`;
const grant = (lines: string) => `${GOOD}${CALLER}[[callers.grants]]\n${lines}`;
const ACTIONS =
  'one of "Tokenize", "Lookup", "RevealPlain", "RevealMasked", "RevealRedacted", "ExchangeFrom", ' +
  '"ExchangeInto", "Inspect", "CreateDomain", "UpdateDomain", "ReadDomain", "GrantBulk", ' +
  '"Restrict", "Erase", "ListSubject", "MergeSubjects", "ImportTokens", "ExportTokens", ' +
  '"ManageVault" is wanted';

describe('a good configuration', () => {
  test('fills in the defaults and makes paths absolute', () => {
    const { config } = load(GOOD);
    expect(config.server).toEqual({ address: '127.0.0.1:50051', plaintext: 'loopback' });
    expect(config.module.library).toBe(join(folder, 'module.so'));
    expect(config.module.pin_source).toBe(join(folder, 'secret/pin'));
    expect(config.data.folder).toBe('/var/lib/lockstep');
    expect(config.callers).toEqual([]);
    expect(config.limits.revealed_items_per_day).toBe(10_000);
  });

  test('says where each field came from', () => {
    const rows = printConfig(
      load(GOOD, { LOCKSTEP_LIMITS_DRAIN_S: '5', LOCKSTEP_MODULE_TOKEN: 'other' }),
    );
    const found = new Map(rows.map((row) => [row.path, row]));
    expect(found.get('limits.drain_s')).toMatchObject({ value: 5, source: 'environment' });
    expect(found.get('module.token')).toMatchObject({ value: 'other', source: 'environment' });
    expect(found.get('server.plaintext')).toMatchObject({ value: 'loopback', source: 'file' });
    expect(found.get('admin.address')).toMatchObject({ source: 'default' });
    expect(found.get('callers')).toMatchObject({ value: [], source: 'default' });
    expect(found.has('server.cert')).toBe(false);
  });

  test('may come from the environment where the file lacks it', () => {
    const env = { LOCKSTEP_DATA_FOLDER: 'data', LOCKSTEP_ADMIN_ADDRESS: '[::1]:0' };
    const { config } = load(GOOD.replace('[data]\nfolder = "/var/lib/lockstep"\n', ''), env);
    expect(config.data.folder).toBe(join(folder, 'data'));
    expect(config.admin.address).toBe('[::1]:0');
  });

  test('the reserve is none, or as much as opening a vault takes', () => {
    const space = { LOCKSTEP_DATA_LOW_SPACE_MIB: '0', LOCKSTEP_DATA_BALLAST_MIB: '0' };
    expect(load(GOOD, {}).config.data).toMatchObject({ low_space_mib: 64, ballast_mib: 16 });
    expect(load(GOOD, space).config.data).toMatchObject({ low_space_mib: 0, ballast_mib: 0 });
    expect(faults(GOOD, { LOCKSTEP_DATA_BALLAST_MIB: '7' })).toHaveLength(1);
    expect(faults(GOOD, { LOCKSTEP_DATA_BALLAST_MIB: '8' })).toEqual([]);
  });

  test('leaves variables alone that are none of its own', () => {
    expect(faults(GOOD, { LOCKSTEP_DATA: 'x', LOCKSTEP_PKCS11_MODULE: 'y', HOME: 'z' })).toEqual(
      [],
    );
  });

  test.each([
    ['loopback by IPv6', GOOD.replace('"loopback"', '"loopback"\naddress = "[::1]:50051"')],
    [
      'plaintext anywhere, by its honest name',
      GOOD.replace('"loopback"', '"insecure-anywhere"\naddress = "0.0.0.0:50051"'),
    ],
    ['grants', grant('actions = ["RevealPlain"]\ndomains = ["a/ssn"]\npurposes = ["TREAT"]\n')],
  ])('takes %s', (_, text) => {
    expect(faults(text)).toEqual([]);
  });
});

describe('a bad configuration is refused with its place', () => {
  test.each<[string, string, string[]]>([
    ['no TOML', 'x =', [`${file}:1:4: this is not TOML`]],
    [
      'nothing',
      '',
      ['module', 'data', 'log'].map((table) => `${table}: missing; a table is wanted`),
    ],
    [
      'an unknown table',
      `${GOOD}[sever]\n`,
      [
        'sever: there is no such key; allowed are server, admin, module, data, log, policy, callers, limits, logging',
      ],
    ],
    [
      'an unknown key',
      GOOD.replace('[server]', '[server]\nadress = "127.0.0.1:1"'),
      ['server.adress: there is no such key; allowed are address, cert, key, client_ca, plaintext'],
    ],
    [
      'a PIN in the file',
      GOOD.replace('[module]', '[module]\npin = "1234"'),
      [
        'module.pin: a PIN never stands in a configuration; pin_source names the file that holds it',
      ],
    ],
    ['a wrong type', GOOD.replace('"lockstep"', '1'), ['module.token: a text is wanted']],
    [
      'a missing field',
      GOOD.replace('token = "lockstep"', ''),
      ['module.token: missing; a text is wanted'],
    ],
    [
      'a wrong choice',
      GOOD.replace('"loopback"', '"yes"'),
      ['server.plaintext: one of "no", "loopback", "insecure-anywhere" is wanted'],
    ],
    [
      'TLS without files',
      GOOD.replace('"loopback"', '"no"\ncert = "a"\nkey = "b"'),
      ['server.client_ca: wanted, since server.plaintext is "no": clients prove who they are'],
    ],
    [
      'files without TLS',
      GOOD.replace('"loopback"', '"loopback"\nkey = "b"'),
      ['server.key: not used, since server.plaintext is "loopback"'],
    ],
    [
      'plaintext off loopback',
      GOOD.replace('"loopback"', '"loopback"\naddress = "0.0.0.0:1"'),
      ['server.address: a loopback address is wanted where server.plaintext = "loopback"'],
    ],
    [
      'plaintext on a name, which may resolve to anything',
      GOOD.replace('"loopback"', '"loopback"\naddress = "localhost:1"'),
      ['server.address: a loopback address is wanted where server.plaintext = "loopback"'],
    ],
    [
      'an address without a port',
      GOOD.replace('"loopback"', '"loopback"\naddress = "127.0.0.1"'),
      ['server.address: HOST:PORT is wanted, port 0 to 65535'],
    ],
    [
      'an admin port for everybody',
      `${GOOD}[admin]\naddress = "0.0.0.0:9464"\n`,
      ['admin.address: a loopback address is wanted'],
    ],
    ['a limit of 0', `${GOOD}[limits]\ndrain_s = 0\n`, ['limits.drain_s: at least 1 is wanted']],
    [
      'a limit too high',
      `${GOOD}[limits]\ndrain_s = 601\n`,
      ['limits.drain_s: at most 600 is wanted'],
    ],
    [
      'a broken limit',
      `${GOOD}[limits]\ndrain_s = 1.5\n`,
      ['limits.drain_s: a whole number is wanted'],
    ],
    [
      'an origin with a space',
      GOOD.replace('log.example/one', 'my log'),
      ['log.origin: a name without spaces and "+" is wanted'],
    ],
    [
      'an unknown action',
      grant('actions = ["Reveal"]\ndomains = ["a/ssn"]\n'),
      [`callers[0].grants[0].actions[0]: ${ACTIONS}`],
    ],
    [
      'an unknown key of a grant',
      grant('actions = ["Lookup"]\ndomains = ["a/ssn"]\nlimit = 1\n'),
      ['callers[0].grants[0].limit: there is no such key; allowed are actions, domains, purposes'],
    ],
    [
      'a reveal without a purpose',
      grant('actions = ["RevealPlain"]\ndomains = ["a/ssn"]\n'),
      ['callers: caller spiffe://a.example/ehr, grant 1: RevealPlain needs purposes'],
    ],
    [
      'a caller twice',
      GOOD + CALLER + CALLER,
      ['callers: caller spiffe://a.example/ehr stands there twice'],
    ],
  ])('%s', (_, text, wanted) => {
    expect(faults(text)).toEqual(wanted);
  });

  test.each<[string, Environment, string[]]>([
    [
      'an unknown variable',
      { LOCKSTEP_SERVER_ADRESS: '127.0.0.1:1' },
      ['LOCKSTEP_SERVER_ADRESS: there is no field of this name'],
    ],
    [
      'a PIN in the environment',
      { LOCKSTEP_MODULE_PIN: '1234' },
      [
        'LOCKSTEP_MODULE_PIN: a PIN never stands in the environment; module.pin_source names the file that holds it',
      ],
    ],
    [
      'a number that is none',
      { LOCKSTEP_LIMITS_DRAIN_S: 'soon' },
      ['limits.drain_s: a whole number is wanted'],
    ],
    [
      'an empty number',
      { LOCKSTEP_LIMITS_DRAIN_S: '' },
      ['limits.drain_s: a whole number is wanted'],
    ],
  ])('%s', (_, env, wanted) => {
    expect(faults(GOOD, env)).toEqual(wanted);
  });

  test('a file that is not there', () => {
    expect(() => loadConfig(join(folder, 'none.toml'), {})).toThrow('the file cannot be read');
  });

  test('no fault repeats a value, for it may be a secret', () => {
    const secret = 'hunter2hunter2';
    const texts = [
      GOOD.replace('[module]', `[module]\npin = "${secret}"`),
      GOOD.replace('"loopback"', `"${secret}"`),
      `pin = "${secret}`,
      GOOD.replace('token = "lockstep"', `token = "${secret.repeat(5)}"`),
      GOOD.replace('log.example/one', `${secret} +`),
    ];
    for (const text of texts) {
      expect(faults(text).length).toBeGreaterThan(0);
      expect(faults(text).join('\n')).not.toContain(secret);
    }
    expect(faults(GOOD, { LOCKSTEP_MODULE_PIN: secret }).join('\n')).not.toContain(secret);
  });
});

describe('the example', () => {
  const example = resolve(import.meta.dirname, '../../src/cli/lockstep.toml');

  test('is good', () => {
    expect(loadConfig(example, {}).config.callers).toHaveLength(2);
  });

  test('names every field, with the default where it is commented out', () => {
    const text = readFileSync(example, 'utf8');
    const rows = printConfig(loadConfig(example, {}));
    const fields = new Map(rows.map((row) => [row.path, row]));
    for (const field of SCALAR_FIELDS.keys()) {
      const [table = '', key = ''] = field.split('.');
      const body = text.split(`\n[${table}]\n`)[1]?.split('\n[')[0] ?? '';
      const line = new RegExp(`^(# )?${key} = (.*?)(?: #.*)?$`, 'm').exec(body);
      expect(line, field).not.toBeNull();
      const set = fields.get(field)?.value;
      // What they stand for follows from other fields.
      if (field === 'policy.folder' || field === 'data.backups') expect(set).toBeUndefined();
      else expect(JSON.stringify(set), field).toBe(line?.[2]);
    }
  });
});

test('every path field is a field', () => {
  for (const field of PATH_FIELDS) expect(SCALAR_FIELDS.get(field)).toBe('text');
});

test('the labels by default are those that the ceremony makes', async () => {
  const { CHECKPOINT_LABEL, ROOT_LABEL } = await import('../../src/keys/roots.ts');
  const { config } = load(GOOD);
  expect(config.module.root).toBe(ROOT_LABEL);
  expect(config.log.checkpoint).toBe(CHECKPOINT_LABEL);
});
