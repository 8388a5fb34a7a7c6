import { type Column, rowCount } from '../base/column.ts';
import { Plain } from '../base/plain.ts';
import { NONE, type PerCall } from '../engine/calls.ts';
import type { EraseCall, RestrictCall, TargetCall, TargetItems } from '../engine/vault-calls.ts';
import type { BatchFields } from './columns.ts';
import type { CallContext } from './context.ts';
import { ERASE_NUMBER, wordOf } from './names.ts';
import {
  deliveryOf,
  frameOf,
  invalid,
  perCall,
  requestIdOf,
  required,
  requirePurpose,
} from './validate.ts';
import { unknownField } from './wire.ts';

// Restrict and Erase name what they mean in one of three ways: by tokens, by values, or by subject.

export function restrictCall(fields: BatchFields, context: CallContext): RestrictCall {
  return { ...targetCall(fields, context), lift: fields.lift };
}

export function eraseCall(fields: BatchFields, context: CallContext): EraseCall {
  const call = targetCall(fields, context);
  if (fields.eraseKind === 0) {
    // The two differ for ever: nobody gets one by leaving the field out.
    throw invalid({ field: 'kind', text: 'is required: DELETE or UNLINK' });
  }
  const mode = wordOf(ERASE_NUMBER, fields.eraseKind);
  if (mode === undefined) throw unknownField('kind');
  return { ...call, mode };
}

function targetCall(fields: BatchFields, context: CallContext): TargetCall {
  requirePurpose(fields.purpose);
  const items = targetItems(fields);
  const column = columnOf(items);
  const rows = rowCount(column ?? fields.items);
  if (column === undefined && (fields.context.length > 0 || rowCount(fields.contexts) > 0)) {
    throw invalid({ field: 'context', text: 'has no meaning for a subject' });
  }
  return {
    ...frameOf(fields, context, items.by === 'subject'),
    items,
    delivery: deliveryOf(fields.delivery),
    context: column === undefined ? NONE : contextOf(fields, rows),
    subject: perCall('subject', fields.subject, fields.subjects, rows),
    requestId: requestIdOf(fields, context),
  };
}

const contextOf = (fields: BatchFields, rows: number): PerCall =>
  perCall('context', fields.context, fields.contexts, rows);

function columnOf(items: TargetItems): Column | undefined {
  if (items.by === 'tokens') return items.tokens;
  return items.by === 'values' ? items.values.reveal() : undefined;
}

/** Exactly one of the three; beside `values` a subject says whose they are. */
function targetItems({ items, targetValues, subject }: BatchFields): TargetItems {
  const tokens = rowCount(items) > 0;
  const values = rowCount(targetValues) > 0;
  if (tokens && values) throw invalid({ field: 'values', text: 'not together with tokens' });
  if (tokens && subject.length > 0) {
    throw invalid({ field: 'subject', text: 'not together with tokens' });
  }
  if (tokens) return { by: 'tokens', tokens: items };
  if (values) return { by: 'values', values: new Plain(targetValues) };
  if (subject.length > 0) return { by: 'subject' };
  throw required('tokens');
}
