/** Validators written apart from the codec: regular expressions, and Luhn by summing the digits
 *  of a doubled string. They know nothing of ranks, tables or placeholders. */
export const VALIDATORS: Readonly<Record<string, (value: string) => boolean>> = {
  ssn: (value) => /^(?!000|666|9\d\d)\d{3}([- ]?)(?!00)\d{2}\1(?!0000)\d{4}$/.test(value),
  npi: (value) => /^[12]\d{9}$/.test(value) && luhn(`80840${value}`),
  mbi: (value) => {
    const a = '[AC-HJKMNP-RT-Y]';
    const n = '[0-9AC-HJKMNP-RT-Y]';
    const dashed = `^[1-9]${a}${n}\\d(-?)${a}${n}\\d\\1${a}${a}\\d\\d$`;
    return new RegExp(dashed, 'i').test(value);
  },
  phone: (value) => {
    const digits = value.replace(/[ ./()-]/g, '').replace(/^\+?1(?=\d{10}$)/, '');
    return /^[2-9](?!11)\d\d[2-9](?!11)\d\d\d{4}$/.test(digits);
  },
  'phone:e164': (value) => {
    const digits = value.replace(/[ ./()-]/g, '');
    return /^\+[2-9]\d{6,14}$/.test(digits) || /^\+1([2-9](?!11)\d\d){2}\d{4}$/.test(digits);
  },
  'luhn:8-19': (value) => {
    const digits = value.replace(/[ -]/g, '');
    return /^\d{8,19}$/.test(digits) && luhn(digits);
  },
};

/** Luhn over the whole number: digits from the right, each second one doubled, as text. */
function luhn(digits: string): boolean {
  const doubled = [...digits].reverse().map((digit, i) => (i % 2 === 0 ? digit : `${+digit * 2}`));
  return [...doubled.join('')].reduce((sum, digit) => sum + Number(digit), 0) % 10 === 0;
}
