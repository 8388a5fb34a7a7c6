import { create } from '@bufbuild/protobuf';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { Engine } from '../engine/calls.ts';
import type { Handlers } from './adapter.ts';
import type { CallContext } from './context.ts';
import {
  type AccessService,
  GrantBulkResponseSchema,
} from './gen/lockstep/v1/access_service_pb.ts';
import { wireReceipt } from './token-codecs.ts';
import { checkDomain, invalid, required, tooLong } from './validate.ts';

const CALLER_BYTES_MAX = 255;

export function accessHandlers(
  engine: Engine,
): Handlers<(typeof AccessService)['method'], Record<never, never>, CallContext> {
  return {
    async grantBulk(request, context) {
      const { caller, domain, untilTime } = request;
      if (caller === '') throw required('caller');
      if (Buffer.byteLength(caller) > CALLER_BYTES_MAX) throw tooLong('caller', CALLER_BYTES_MAX);
      checkDomain(domain, 'domain');
      if (request.count === 0n) throw required('count');
      const count = Number(request.count);
      if (!Number.isSafeInteger(count)) {
        throw invalid({ field: 'count', text: 'is above 2^53 - 1' });
      }
      if (untilTime === undefined) throw required('until_time');
      const untilMs = timestampMs(untilTime);
      if (!Number.isSafeInteger(untilMs) || untilMs <= Date.now()) {
        throw invalid({ field: 'until_time', text: 'is not in the future' });
      }
      const receipt = await engine.grantBulk(context.caller, { caller, domain, count, untilMs });
      return create(GrantBulkResponseSchema, { receipt: wireReceipt(receipt) });
    },
  };
}
