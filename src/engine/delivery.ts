import { CallError } from '../base/call-error.ts';
import type { Delivery } from '../base/domain.ts';
import { type ItemError, REASONS } from '../base/reason.ts';

/** Violations a status carries at most (proto/README.md). */
const VIOLATIONS_MAX = 16;

/** All-or-nothing fails the call with the reason of its lowest failing item; nothing is stored or
 *  shown then. `column` is the request field that the items stand in. */
export function refuseIfPartial(
  delivery: Delivery,
  column: 'values' | 'tokens',
  errors: readonly ItemError[],
): void {
  const first = errors[0];
  if (delivery !== 'all-or-nothing' || first === undefined) return;
  throw new CallError(first.reason, {
    violations: errors.slice(0, VIOLATIONS_MAX).map((error) => ({
      field: `${column}[${error.index}]`,
      text: REASONS[error.reason].text,
    })),
  });
}
