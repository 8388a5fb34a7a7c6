import type { CallOptions, Connection } from '../../src/rpc/client.ts';

import { TokenService } from '../../src/rpc/gen/lockstep/v1/token_service_pb.ts';
import { VIEW_NUMBER } from '../../src/rpc/names.ts';
import type { Ack, Ask } from './journal.ts';

/** Makes the call that `ask` describes. Rejects with `RpcError`. */
export async function perform(
  connection: Connection,
  ask: Ask,
  options?: CallOptions,
): Promise<Ack> {
  const tokens = connection.stub(TokenService);
  const { id, domain, purpose, requestId } = ask;
  const common = { domain, purpose, requestId };
  const items = [...ask.items];
  switch (ask.verb) {
    case 'tokenize': {
      const answer = await tokens.tokenize({ ...common, values: items }, options);
      return ackOf(id, answer.tokens, answer);
    }
    case 'detokenize': {
      const wanted = { ...common, tokens: items, view: VIEW_NUMBER.plain };
      const answer = await tokens.detokenize(wanted, options);
      return ackOf(id, answer.values, answer);
    }
    case 'exchange': {
      const wanted = { ...common, tokens: items, targetDomain: ask.target };
      const answer = await tokens.exchange(wanted, options);
      return ackOf(id, answer.tokens, answer);
    }
  }
}

interface Answer {
  readonly errors: readonly { readonly index?: number | undefined; readonly reason: string }[];
  readonly receipt?: { readonly leafIndex: bigint; readonly leafHash: Uint8Array } | undefined;
}

function ackOf(id: number, outputs: readonly string[], { errors, receipt }: Answer): Ack {
  return {
    id,
    outputs,
    errors: errors.map(({ index = 0, reason }) => ({ index, reason })),
    leaf: receipt === undefined ? -1 : Number(receipt.leafIndex),
    hash: Buffer.from(receipt?.leafHash ?? []).toString('hex'),
  };
}
