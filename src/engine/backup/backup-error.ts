const TEXTS = {
  'not-a-backup': 'the file is not a Lockstep backup',
  'other-format': 'the backup is of a format that this version does not read',
  identity: 'none of the identities opens the backup',
  'identity-malformed': 'the identity file holds no age identity',
  damaged: 'the backup is damaged or cut off',
  signature: 'the backup is not signed by the key that it names',
  'other-signer': 'the backup is signed by another key than the one given',
  'root-missing': 'the module lacks the root that wraps the keys of the backup, or the signing key',
  'keys-differ': 'the module has another root under this label, or the catalogue was changed',
  'signer-unknown':
    "the module's checkpoint key is not the one that signed the backup: name that one's public key",
  'folder-in-use':
    'the data folder is not empty; what an interrupted restore left there can be removed',
  'origin-differs': 'the configuration names another log than the backup: its origin differs',
  'log-differs': 'the log is not the one that the backup was made beside, or is older',
  'catalogue-older': 'the log names a newer catalogue than the backup holds: give that one too',
  'catalogue-differs': 'the catalogue given is not of this installation, or is older',
  'certificate-invalid':
    'a certificate is not whole, of another installation, or without its sealed bodies',
} as const;

export type BackupFault = keyof typeof TEXTS;

/** A backup, or what it is to be restored with, that is refused. The text is fixed. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
  readonly fault: BackupFault;
  constructor(fault: BackupFault, cause?: unknown) {
    super(TEXTS[fault], cause === undefined ? {} : { cause });
    this.fault = fault;
  }
}
