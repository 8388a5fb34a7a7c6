import { LIMITS } from '../../base/limits.ts';
import { FAULT, type OpaqueFormat, UNBOUNDED } from './format.ts';
import { fixedStars } from './masks.ts';

/** `text`: any UTF-8 of at most 32 KiB, control characters included, byte for byte. Two
 *  spellings that look alike (NFC and NFD) are two values. */
export function text(): OpaqueFormat {
  return {
    family: 'opaque',
    name: 'text',
    size: UNBOUNDED,
    bytesMax: LIMITS.freeTextBytesMax,
    lowEntropy: false,
    assignerRequired: false,
    defaultSafety: 'never-real',
    neverRealSize: UNBOUNDED,
    advice: 'siv; static or dynamic where a token must not be derived from the value',
    judge: () => FAULT.none,
    normalise: (out, bytes, start, end) => out.append(bytes, start, end),
    mask: fixedStars,
  };
}
