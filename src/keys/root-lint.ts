/** What the module says about a key, by PKCS#11 attribute; undefined where it has no such one. */
export interface SecurityFlags {
  readonly token: boolean | undefined;
  readonly private: boolean | undefined;
  readonly sensitive: boolean | undefined;
  readonly extractable: boolean | undefined;
  readonly alwaysSensitive: boolean | undefined;
  readonly neverExtractable: boolean | undefined;
  readonly local: boolean | undefined;
  readonly modifiable: boolean | undefined;
  readonly copyable: boolean | undefined;
  readonly destroyable: boolean | undefined;
  readonly encrypt: boolean | undefined;
  readonly decrypt: boolean | undefined;
  readonly wrap: boolean | undefined;
  readonly unwrap: boolean | undefined;
  readonly sign: boolean | undefined;
  readonly verify: boolean | undefined;
  readonly derive: boolean | undefined;
}

export type FlagName = keyof SecurityFlags;
export type RootUse = 'wrapping' | 'signing';
/** Whether the wrapping root has a copy in another module, made by wrapping it once: then it was
 *  born extractable here, or came from elsewhere. */
export type RootBackup = 'none' | 'wrapped';

type Rule = Readonly<Partial<Record<FlagName, boolean>>>;

/** A root that may decrypt gives up every key it wrapped, and one that may be changed can be given
 *  that power later. */
const COMMON: Rule = {
  token: true,
  private: true,
  sensitive: true,
  extractable: false,
  alwaysSensitive: true,
  neverExtractable: true,
  local: true,
  modifiable: false,
  copyable: false,
  decrypt: false,
  derive: false,
};
const RULES: Readonly<Record<RootUse, Rule>> = {
  wrapping: { ...COMMON, encrypt: false, sign: false, verify: false, wrap: true, unwrap: true },
  signing: { ...COMMON, unwrap: false, sign: true },
};
/** What a wrapping root with a copy cannot say of itself; that it leaves no more, it must. */
const OF_ONLY_COPIES: ReadonlySet<string> = new Set([
  'alwaysSensitive',
  'neverExtractable',
  'local',
]);

/** Names of the attributes that are not as they must be, e.g. `extractable is true`; empty when the
 *  key may serve. An attribute that a module does not have passes only where it must be false:
 *  a private key has no CKA_ENCRYPT. */
export function rootFaults(
  use: RootUse,
  flags: SecurityFlags,
  backup: RootBackup = 'none',
): string[] {
  const faults: string[] = [];
  for (const [name, wanted] of Object.entries(RULES[use])) {
    if (use === 'wrapping' && backup === 'wrapped' && OF_ONLY_COPIES.has(name)) continue;
    const is = flags[name as FlagName];
    if (is === wanted || (is === undefined && !wanted && name !== 'extractable')) continue;
    faults.push(`${name} is ${is ?? 'missing'}`);
  }
  return faults;
}
