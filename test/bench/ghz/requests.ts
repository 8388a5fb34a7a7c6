import { FPE_DOMAIN } from '../lockstep-server.ts';
import { randomDigits } from '../payloads.ts';

/** Prints requests for ghz's `data-file`: `node requests.ts ITEMS [--reveal]`. Any nine digits are
 *  a token of the domain, so reveals need no tokens made before. */
const items = Number(process.argv[2]);
if (!Number.isInteger(items) || items < 1 || items > 10_000) {
  process.stderr.write('usage: node test/bench/ghz/requests.ts ITEMS [--reveal]\n');
  process.exit(2);
}
const reveal = process.argv[3] === '--reveal';
const requests = Array.from({ length: items === 1 ? 4_096 : 64 }, () =>
  reveal
    ? { domain: FPE_DOMAIN, tokens: randomDigits(items), purpose: 'TREAT', view: 'VIEW_PLAIN' }
    : { domain: FPE_DOMAIN, values: randomDigits(items) },
);
process.stdout.write(`${JSON.stringify(requests)}\n`);
