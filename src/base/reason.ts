/** Every way an item or a call can fail. Reasons are wire format (ItemError.reason,
 *  ErrorInfo.reason): add, never rename or reuse. `code` names a google.rpc.Code; `retry` says
 *  whether the same request may succeed later; `text` is fixed and never built from input. */
export const REASONS = {
  MESSAGE_MALFORMED: { code: 'INVALID_ARGUMENT', retry: false, text: 'the message does not parse' },
  FIELD_REQUIRED: { code: 'INVALID_ARGUMENT', retry: false, text: 'a required field is missing' },
  FIELD_INVALID: { code: 'INVALID_ARGUMENT', retry: false, text: 'a field has a bad value' },
  FIELD_UNKNOWN: { code: 'INVALID_ARGUMENT', retry: false, text: 'a field is not known here' },
  COLUMN_MISMATCH: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the columns of the batch differ in length',
  },
  BATCH_TOO_LARGE: { code: 'INVALID_ARGUMENT', retry: false, text: 'too many items in one batch' },
  PURPOSE_REQUIRED: { code: 'INVALID_ARGUMENT', retry: false, text: 'this call needs a purpose' },
  PURPOSE_UNKNOWN: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the purpose is not a code of v3-ActReason',
  },
  PAGE_TOKEN_INVALID: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the page token is not ours',
  },
  VALUE_EMPTY: { code: 'INVALID_ARGUMENT', retry: false, text: 'the value is empty' },
  VALUE_TOO_LONG: { code: 'INVALID_ARGUMENT', retry: false, text: 'the value is too long' },
  VALUE_MALFORMED: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the value is not of the format',
  },
  VALUE_CHECK_FAILED: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the value fails its check digit or allocation rule',
  },
  VALUE_PLACEHOLDER: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the value is a known placeholder',
  },
  SUBJECT_REQUIRED: { code: 'INVALID_ARGUMENT', retry: false, text: 'the item needs a subject' },
  TOKEN_MALFORMED: {
    code: 'INVALID_ARGUMENT',
    retry: false,
    text: 'the token does not have the form of its domain',
  },
  IDENTITY_INVALID: {
    code: 'UNAUTHENTICATED',
    retry: false,
    text: 'the caller could not be identified',
  },
  ACCESS_DENIED: { code: 'PERMISSION_DENIED', retry: false, text: 'policy does not permit this' },
  VIEW_DENIED: {
    code: 'PERMISSION_DENIED',
    retry: false,
    text: 'policy does not permit this view',
  },
  RIGHT_WITHDRAWN: {
    code: 'PERMISSION_DENIED',
    retry: false,
    text: 'the right was withdrawn while the stream was open',
  },
  RESOURCE_NOT_FOUND: { code: 'NOT_FOUND', retry: false, text: 'there is no such thing' },
  TOKEN_NOT_FOUND: { code: 'NOT_FOUND', retry: false, text: 'the token is not known here' },
  VALUE_NOT_FOUND: { code: 'NOT_FOUND', retry: false, text: 'the value has no token here' },
  TOKEN_TAKEN: {
    code: 'ALREADY_EXISTS',
    retry: false,
    text: 'the token or the value has another partner already',
  },
  RESOURCE_EXISTS: { code: 'ALREADY_EXISTS', retry: false, text: 'it exists already' },
  KIND_UNSUPPORTED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the kind of the domain does not support this',
  },
  FORMAT_TOO_SMALL: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the format has too few members for this kind',
  },
  NOTE_REQUIRED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'this choice needs a recorded reason',
  },
  DOMAIN_DISABLED: { code: 'FAILED_PRECONDITION', retry: false, text: 'the domain is disabled' },
  KEY_VERSION_UNUSABLE: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'a key version of the domain cannot be used',
  },
  TOKEN_ENDED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the token is over, by time or by number of reveals',
  },
  TOKEN_RESTRICTED: { code: 'FAILED_PRECONDITION', retry: false, text: 'the token is stopped' },
  TOKEN_UNLINKED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the value of the token is gone',
  },
  SUBJECTS_TOO_MANY: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the record is shared by as many subjects as it can hold',
  },
  ERASE_REFUSED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'tokens of this kind cannot be erased',
  },
  MINTING_CLOSED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the domain was restored without its log and its counters, so it mints no more',
  },
  REQUEST_ID_REUSED: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the request id was used for another message',
  },
  MODULE_LACKS_MECHANISM: {
    code: 'FAILED_PRECONDITION',
    retry: false,
    text: 'the PKCS#11 module lacks a mechanism',
  },
  BUDGET_EXHAUSTED: { code: 'RESOURCE_EXHAUSTED', retry: true, text: 'the quota is used up' },
  OVERLOADED: { code: 'RESOURCE_EXHAUSTED', retry: true, text: 'too many calls are waiting' },
  STORE_FULL: { code: 'RESOURCE_EXHAUSTED', retry: true, text: 'the store has no space left' },
  MESSAGE_TOO_LARGE: { code: 'RESOURCE_EXHAUSTED', retry: false, text: 'the message is too large' },
  FORMAT_EXHAUSTED: {
    code: 'RESOURCE_EXHAUSTED',
    retry: false,
    text: 'the format has no free tokens left',
  },
  ANSWER_TOO_LARGE: {
    code: 'OUT_OF_RANGE',
    retry: false,
    text: 'the answer of this item does not fit; ask for it alone',
  },
  ETAG_MISMATCH: { code: 'ABORTED', retry: true, text: 'it was changed meanwhile; read it again' },
  STREAM_STALLED: { code: 'ABORTED', retry: true, text: 'the stream made no progress' },
  STREAM_OUT_OF_TURN: {
    code: 'ABORTED',
    retry: true,
    text: 'the sequence number of the batch is out of turn',
  },
  DRAINING: { code: 'UNAVAILABLE', retry: true, text: 'the server is shutting down' },
  LOG_UNAVAILABLE: { code: 'UNAVAILABLE', retry: true, text: 'the log cannot be written' },
  MODULE_UNAVAILABLE: {
    code: 'UNAVAILABLE',
    retry: true,
    text: 'the PKCS#11 module does not answer',
  },
  STORE_UNAVAILABLE: { code: 'UNAVAILABLE', retry: true, text: 'the store cannot be used' },
  DEADLINE_PASSED: { code: 'DEADLINE_EXCEEDED', retry: true, text: 'the deadline has passed' },
  CALL_CANCELLED: { code: 'CANCELLED', retry: false, text: 'the call was cancelled' },
  OUTCOME_UNKNOWN: { code: 'UNKNOWN', retry: true, text: 'the store did not say what it did' },
  RECORD_CORRUPT: { code: 'DATA_LOSS', retry: false, text: 'the record does not open' },
  INTERNAL: { code: 'INTERNAL', retry: false, text: 'an internal fault' },
} as const satisfies Record<string, ReasonRow>;

export interface ReasonRow {
  readonly code: CodeName;
  readonly retry: boolean;
  readonly text: string;
}

/** Names of google.rpc.Code that Lockstep answers with. */
export type CodeName =
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'UNAUTHENTICATED';

export type Reason = keyof typeof REASONS;

/** A failed item of a batch: its place from 0 and why. Lists of them ascend by index. */
export interface ItemError {
  readonly index: number;
  readonly reason: Reason;
}
