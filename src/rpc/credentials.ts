import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { experimental, ServerCredentials } from '@grpc/grpc-js';
import type { Logger } from '../base/logger.ts';
import type { RpcServerOptions, TlsFiles } from './options.ts';

type Identity = experimental.IdentityCertificateUpdate;
type IdentityListener = experimental.IdentityCertificateUpdateListener;
type CaListener = experimental.CaCertificateUpdateListener;

/** Every client has to show a certificate of `clientCa`. Rejects where the files are no good. */
export async function credentialsFor(
  transport: RpcServerOptions['transport'],
  logger: Logger,
  refreshMs: number,
): Promise<ServerCredentials> {
  if ('plaintext' in transport) return ServerCredentials.createInsecure();
  const files = await WatchedFiles.open(transport.tls, logger, refreshMs);
  return experimental.createCertificateProviderServerCredentials(files, files, true);
}

interface Loaded {
  readonly identity: Identity;
  readonly ca: Buffer;
}

/** Reads the files again now and then, so that a renewed certificate needs no restart. Unlike
 *  grpc-js's own watcher it keeps what it has while the files are missing or do not belong
 *  together, which is how they look in the midst of being replaced. */
class WatchedFiles implements experimental.CertificateProvider {
  readonly #files: TlsFiles;
  readonly #logger: Logger;
  readonly #refreshMs: number;
  readonly #identityListeners = new Set<IdentityListener>();
  readonly #caListeners = new Set<CaListener>();
  #loaded: Loaded;
  #timer: NodeJS.Timeout | undefined;

  private constructor(files: TlsFiles, logger: Logger, refreshMs: number, loaded: Loaded) {
    this.#files = files;
    this.#logger = logger;
    this.#refreshMs = refreshMs;
    this.#loaded = loaded;
  }

  static async open(files: TlsFiles, logger: Logger, refreshMs: number): Promise<WatchedFiles> {
    return new WatchedFiles(files, logger, refreshMs, await load(files));
  }

  async #refresh(): Promise<void> {
    try {
      const loaded = await load(this.#files);
      if (equal(loaded, this.#loaded)) return;
      this.#loaded = loaded;
      for (const listener of this.#caListeners) listener({ caCertificate: loaded.ca });
      for (const listener of this.#identityListeners) listener(loaded.identity);
      this.#logger.info('tls-files-renewed');
    } catch (error) {
      this.#logger.warn('tls-files-unusable', {}, error);
    }
  }

  /** grpc-js listens as long as the server is bound. */
  #watch(): void {
    const listening = this.#identityListeners.size + this.#caListeners.size > 0;
    if (listening && this.#timer === undefined) {
      this.#timer = setInterval(() => void this.#refresh(), this.#refreshMs);
      this.#timer.unref();
    } else if (!listening) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener);
    this.#watch();
    // Later: grpc-js subscribes before it has somewhere to put what it is told.
    process.nextTick(() => listener(this.#loaded.identity));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener);
    this.#watch();
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener);
    this.#watch();
    process.nextTick(() => listener({ caCertificate: this.#loaded.ca }));
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener);
    this.#watch();
  }
}

/** Rejects unless the key is the certificate's and all three parse. */
async function load(files: TlsFiles): Promise<Loaded> {
  const [certificate, privateKey, ca] = await Promise.all([
    readFile(files.certificate),
    readFile(files.key),
    readFile(files.clientCa),
  ]);
  createSecureContext({ cert: certificate, key: privateKey, ca });
  return { identity: { certificate, privateKey }, ca };
}

function equal(one: Loaded, other: Loaded): boolean {
  return (
    one.ca.equals(other.ca) &&
    one.identity.certificate.equals(other.identity.certificate) &&
    one.identity.privateKey.equals(other.identity.privateKey)
  );
}
