import { rowCount } from '../base/column.ts';
import { Plain } from '../base/plain.ts';
import { chooseView } from '../policy/view.ts';
import type { DetokenizeCall, RevealAnswer } from './calls.ts';
import { noticesOf } from './encode.ts';
import { cellsOf, domainOf, entryOf, refuseDisabled, requireSubject, underQuota } from './gate.ts';
import type { Parts } from './parts.ts';
import { commitLeaf, withProof } from './receipts.ts';
import { revealItems } from './reveal.ts';

/** Tokens to values, in a view, for a purpose. Every reveal counts and has a leaf; none is
 *  replayed. */
export async function detokenize(parts: Parts, call: DetokenizeCall): Promise<RevealAnswer> {
  const domain = domainOf(parts, call.caller, call.domain);
  const ask = {
    caller: call.caller,
    domain: domain.spec,
    purpose: call.purpose,
    items: rowCount(call.tokens),
  };
  const view = chooseView(parts.policy, ask, call.view, call.acceptLowerView);
  refuseDisabled(domain);
  requireSubject(domain, call.subject);
  const quota = {
    verb: 'detokenize',
    caller: call.caller,
    domain,
    items: call.tokens,
    cells: [call.context, call.subject],
  } as const;
  return underQuota(parts, quota, async (timeMs) => {
    const items = {
      tokens: call.tokens,
      context: cellsOf(call.context),
      subject: cellsOf(call.subject),
      delivery: call.delivery,
      view,
      deadlineMs: call.deadlineMs,
      cancelled: call.cancelled,
      seal: true,
    };
    const { revealed, committed } = await revealItems(parts, domain, items, async (revealed) => {
      const { column, errors, distinct, body } = revealed;
      const rows = rowCount(column);
      const entry = {
        ...entryOf(parts, call, 'Detokenize', domain, rows, errors, timeMs),
        view,
        distinct,
      };
      const committed = await commitLeaf(parts, { entry, body, edits: revealed.uses(rows) });
      return { revealed, committed };
    });
    const { column, errors, distinct } = revealed;
    const receipt = await withProof(parts, committed, call.waitForProof);
    const notices = noticesOf(revealed.opaque, revealed.passed);
    const answer = { values: new Plain(column), errors, receipt, view, notices };
    return { used: distinct, answer };
  });
}
