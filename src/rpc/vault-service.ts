import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { stringsOf } from '../base/column.ts';
import type { Engine } from '../engine/calls.ts';
import type { BackupRequest, VaultView } from '../engine/vault-calls.ts';
import type { Handlers } from './adapter.ts';
import type { CallContext } from './context.ts';
import {
  type BackUpVaultRequest,
  BackUpVaultResponseSchema,
  CheckVaultResponseSchema,
  CompactVaultResponseSchema,
  GetErasureCertificateResponseSchema,
  GetVaultResponseSchema,
  ListSubjectTokensResponseSchema,
  MergeSubjectsResponseSchema,
  UnmergeSubjectsResponseSchema,
  type Vault,
  VaultSchema,
  type VaultService,
} from './gen/lockstep/v1/vault_service_pb.ts';
import { wireJob } from './job-service.ts';
import { STATE_NUMBER, VAULT_STATE_NUMBER } from './names.ts';
import { pageEntries, readPageToken, writePageToken } from './page-token.ts';
import { exportTokens, importCodec, importTokens } from './pair-streams.ts';
import { wireReceipt } from './token-codecs.ts';
import {
  checkNote,
  deadlineOf,
  frameOf,
  invalid,
  requestIdOf,
  required,
  requirePurpose,
  subjectBytes,
  wholeNumber,
} from './validate.ts';

type Methods = (typeof VaultService)['method'];

export const vaultCodecs = { importTokens: importCodec } as const;

/** A name that no file system reads as anything but a name. */
const FILE = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,126}[A-Za-z0-9])?$/;
/** An age public key; those with post-quantum protection have about 2,000 characters. */
const RECIPIENT = /^age1[a-z0-9]{1,4095}$/;
const RECIPIENTS_MAX = 16;
const MERGE = /^[0-9A-Za-z]{1,64}$/;

/** The vault as officers see it, and subjects across it. */
export function vaultHandlers(
  engine: Engine,
  stallMs: number,
): Handlers<Methods, typeof vaultCodecs, CallContext> {
  return {
    ...adminHandlers(engine),
    ...subjectHandlers(engine),
    importTokens: (pipe, context) => importTokens(engine, pipe, context, stallMs),
    exportTokens: (request, outlet, context) =>
      exportTokens(engine, request, outlet, context, stallMs),
  };
}

type AllHandlers = Handlers<Methods, typeof vaultCodecs, CallContext>;
type Admin = 'getVault' | 'backUpVault' | 'checkVault' | 'compactVault' | 'getErasureCertificate';

function adminHandlers(engine: Engine): Pick<AllHandlers, Admin> {
  return {
    async getVault(_request, { caller }) {
      return create(GetVaultResponseSchema, { vault: wireVault(await engine.getVault(caller)) });
    },
    async backUpVault(request, context) {
      const answer = await engine.backUpVault(context.caller, backupRequest(request, context));
      return create(BackUpVaultResponseSchema, {
        job: wireJob(answer.job),
        receipt: wireReceipt(answer.receipt),
      });
    },
    async checkVault(request, context) {
      const requestId = requestIdOf(request, context);
      const job = await engine.checkVault(context.caller, request.deep, requestId);
      return create(CheckVaultResponseSchema, { job: wireJob(job) });
    },
    async compactVault(_request, { caller }) {
      const { job, receipt } = await engine.compactVault(caller);
      return create(CompactVaultResponseSchema, {
        job: wireJob(job),
        receipt: wireReceipt(receipt),
      });
    },
    async getErasureCertificate(request, { caller }) {
      const leafIndex = wholeNumber(request.leafIndex, 'leaf_index');
      const { certificate, compacted } = await engine.erasureCertificate(caller, leafIndex);
      return create(GetErasureCertificateResponseSchema, { certificate, compacted });
    },
  };
}

type Subjects = 'listSubjectTokens' | 'mergeSubjects' | 'unmergeSubjects';

function subjectHandlers(engine: Engine): Pick<AllHandlers, Subjects> {
  return {
    async listSubjectTokens({ domain, purpose, pageSize, pageToken, ...request }, context) {
      const base = frameOf({ domain, purpose }, context, true);
      requirePurpose(purpose);
      const subject = subjectBytes(request.subject, 'subject');
      // The engine binds the place to the subject: only it can without telling who that is.
      const scope = [context.caller.id, 'ListSubjectTokens', domain, purpose];
      const after = readPageToken(pageToken, scope);
      const limit = pageEntries(pageSize);
      const answer = await engine.listSubjectTokens({ ...base, subject, limit, after });
      context.done += answer.states.length;
      return create(ListSubjectTokensResponseSchema, {
        domains: [...answer.domains],
        tokens: stringsOf(answer.tokens),
        states: answer.states.map((state) => STATE_NUMBER[state]),
        nextPageToken: answer.next === '' ? '' : writePageToken(answer.next, scope),
        receipt: wireReceipt(answer.receipt),
      });
    },
    async mergeSubjects(request, context) {
      const survivor = subjectBytes(request.survivor, 'survivor');
      const prior = subjectBytes(request.prior, 'prior');
      if (request.survivor === request.prior) {
        throw invalid({ field: 'prior', text: 'is the survivor' });
      }
      const { note } = request;
      checkNote(note);
      const requestId = requestIdOf(request, context);
      const deadlineMs = deadlineOf(context);
      const { caller } = context;
      const call = { caller, survivor, prior, note, requestId, deadlineMs };
      const { merge, moved, receipt } = await engine.mergeSubjects(call);
      return create(MergeSubjectsResponseSchema, {
        merge,
        moved: BigInt(moved),
        receipt: wireReceipt(receipt),
      });
    },
    async unmergeSubjects({ merge, note, requestId: id }, context) {
      if (merge === '') throw required('merge');
      if (!MERGE.test(merge)) throw invalid({ field: 'merge', text: 'is not the id of a merge' });
      checkNote(note);
      const requestId = requestIdOf({ requestId: id }, context);
      const answer = await engine.unmergeSubjects(context.caller, merge, note, requestId);
      return create(UnmergeSubjectsResponseSchema, {
        moved: BigInt(answer.moved),
        receipt: wireReceipt(answer.receipt),
      });
    },
  };
}

/** Which recipients protect well enough is for the engine to say. */
function backupRequest(request: BackUpVaultRequest, context: CallContext): BackupRequest {
  const { file, recipients, classic } = request;
  if (file === '') throw required('file');
  if (!FILE.test(file)) {
    throw invalid({ field: 'file', text: 'is not a name of letters, digits, dots and hyphens' });
  }
  if (recipients.length === 0) throw required('recipients');
  if (recipients.length > RECIPIENTS_MAX) {
    throw invalid({ field: 'recipients', text: `has more than ${RECIPIENTS_MAX} entries` });
  }
  for (const [i, recipient] of recipients.entries()) {
    if (!RECIPIENT.test(recipient)) {
      throw invalid({ field: `recipients[${i}]`, text: 'is not an age public key' });
    }
  }
  return { file, recipients: [...recipients], classic, requestId: requestIdOf(request, context) };
}

function wireVault(view: VaultView): Vault {
  return create(VaultSchema, {
    id: view.id,
    state: VAULT_STATE_NUMBER[view.state],
    epoch: BigInt(view.epoch),
    liveTokens: BigInt(view.liveTokens),
    logSize: BigInt(view.logSize),
    restoredFrom: view.restoredFrom,
    erasuresReplayed: BigInt(view.erasuresReplayed),
    ...(view.checkedMs === 0 ? {} : { checkTime: timestampFromMs(view.checkedMs) }),
    faults: BigInt(view.faults),
    freeBytes: BigInt(view.freeBytes),
  });
}
