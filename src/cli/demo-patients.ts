import { createHash } from 'node:crypto';
import { parseFormat } from '../codec/format/catalogue.ts';
import type { Language, RankedFormat } from '../codec/format/ranked.ts';

/** A person made up for the demo; every value is valid by its format's own rules. */
export interface Patient {
  readonly name: string;
  readonly birthDate: string;
  readonly ssn: string;
  readonly mrn: string;
  /** Of the doctor: some 400 doctors see all patients, so values repeat as they do in life. */
  readonly npi: string;
  readonly mbi: string;
  readonly phone: string;
}

export type Field = keyof Patient;

/** The same people for the same seed on every machine; SSN, MRN and MBI are unique among them.
 *  At most 1,000,000. Telephone numbers are of 555-0100 to 555-0199, which the North American
 *  plan keeps for fiction; the other numbers are drawn at random from their formats. */
export function makePatients(count: number, seed: string): Patient[] {
  const [ssns, mrns, mbis] = [new Set<string>(), new Set<string>(), new Set<string>()];
  return Array.from({ length: count }, (_, i) => {
    const dice = new Dice(`${seed}/patient/${i}`);
    return {
      name: nameOf(dice),
      birthDate: birthDateOf(dice),
      ssn: unique(ssns, () => dashed(memberOf(SSN, dice), 3, 5)),
      mrn: unique(mrns, () => String(10_000_000 + dice.below(90_000_000))),
      npi: memberOf(NPI, new Dice(`${seed}/doctor/${dice.below(DOCTORS)}`)),
      mbi: unique(mbis, () => dashed(memberOf(MBI, dice), 4, 7)),
      phone: phoneOf(dice),
    };
  });
}

const DOCTORS = 400;

// Common names of several languages and scripts, in NFC: accents and letters of two bytes are what
// a tokenizer meets in every hospital.
const GIVEN_NAMES = [
  ...['José', 'Zoë', 'Łukasz', 'Søren', 'Siân', 'Renée', 'Jürgen', 'Çağla', 'Ngọc', 'Amélie'],
  ...['Maria', 'James', 'Aisha', 'Wei', 'Priya', 'Olumide', 'Hana', 'Mateo', 'Ingrid', 'Νίκος'],
  ...['Олена', 'Björn', 'Anaïs', 'Tomáš', 'Þóra', 'Grace'],
];
const FAMILY_NAMES = [
  ...['García', 'Müller', 'Nguyễn', 'Kowalska', 'Sørensen', 'O’Brien', 'Lefèvre', 'Yılmaz'],
  ...['Novák', 'Åkerblom', 'Smith', 'Okafor', 'Haddad', 'Tanaka', 'Sharma', 'Silva', 'Ibáñez'],
  ...['Παππάς', 'Шевченко', 'Jónsdóttir', 'Popescu', 'Dubois', 'Castro', 'Weiß', 'Lindqvist'],
];

function nameOf(dice: Dice): string {
  const given = dice.pick(GIVEN_NAMES);
  const family = dice.pick(FAMILY_NAMES);
  // One in eight bears two family names.
  return dice.below(8) === 0
    ? `${given} ${family}-${dice.pick(FAMILY_NAMES)}`
    : `${given} ${family}`;
}

const DAY_MS = 86_400_000;
const FIRST_BIRTH_MS = Date.UTC(1930, 0, 2);
const BIRTH_DAYS = 34_000;

const birthDateOf = (dice: Dice): string =>
  new Date(FIRST_BIRTH_MS + dice.below(BIRTH_DAYS) * DAY_MS).toISOString().slice(0, 10);

function phoneOf(dice: Dice): string {
  for (;;) {
    const area = 200 + dice.below(800);
    if (area % 100 !== 11) return `${area}-555-01${String(dice.below(100)).padStart(2, '0')}`;
  }
}

const SSN = ranked('ssn');
const NPI = ranked('npi');
const MBI = ranked('mbi');

function ranked(name: string): RankedFormat {
  const format = parseFormat(name, {});
  if (format.family !== 'ranked') throw new Error('the format is of another family');
  return format;
}

function memberOf(format: RankedFormat, dice: Dice): string {
  const language: Language = format.drawn;
  const symbols = new Uint8Array(language.length);
  do language.unrank(dice.below(language.size), symbols);
  while (format.isFiller(symbols, language.length));
  return Buffer.from(symbols).toString('latin1');
}

const dashed = (text: string, first: number, second: number): string =>
  `${text.slice(0, first)}-${text.slice(first, second)}-${text.slice(second)}`;

function unique(taken: Set<string>, draw: () => string): string {
  for (;;) {
    const value = draw();
    if (taken.has(value)) continue;
    taken.add(value);
    return value;
  }
}

/** Numbers that follow from a text: SHA-256 of it and a counter. */
class Dice {
  readonly #seed: string;
  #block = Buffer.alloc(0);
  #blocks = 0;
  #at = 0;

  constructor(seed: string) {
    this.#seed = seed;
  }

  /** 0 to `size` − 1; `size` below 2^48. Its bias is far below what a demo could show. */
  below(size: number): number {
    if (this.#at + 6 > this.#block.length) {
      this.#block = createHash('sha256')
        .update(`${this.#seed}/${this.#blocks++}`)
        .digest();
      this.#at = 0;
    }
    const number = this.#block.readUIntBE(this.#at, 6);
    this.#at += 6;
    return number % size;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}
