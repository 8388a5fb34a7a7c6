/** The check digit that ISO/IEC 7812-1 Annex B (Luhn) puts after digits [start, end): from the
 *  right every second digit is doubled, beginning with the last, digit sums are added, and the
 *  check digit completes the sum to a multiple of ten. `seed` is the sum of a fixed prefix that
 *  is not written, e.g. 24 for the NPI's 80840. */
export function luhnDigit(
  digits: Uint16Array | Uint8Array,
  start: number,
  end: number,
  seed = 0,
): number {
  let sum = seed;
  let doubled = true;
  for (let i = end - 1; i >= start; i--) {
    const digit = digits[i]!;
    if (!doubled) sum += digit;
    else sum += digit > 4 ? digit * 2 - 9 : digit * 2;
    doubled = !doubled;
  }
  return (10 - (sum % 10)) % 10;
}
