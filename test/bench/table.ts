import type { Figure, Parts, ThreadProfile } from './figure.ts';
import { isMissed } from './figure.ts';

/** The table for people: a line a figure, its parts under it, and where the time goes for each goal
 *  that was missed. */
export function tableText(
  machine: Readonly<Record<string, string | number>>,
  figures: readonly Figure[],
): string {
  const lines = [
    '',
    Object.entries(machine)
      .map(([name, value]) => `${name} ${value}`)
      .join(' · '),
    '',
    row('figure', 'value', 'goal', ''),
    '─'.repeat(76),
  ];
  for (const figure of figures) {
    const { id, value, unit, goal, higherIsBetter } = figure;
    const bound = goal === null ? 'reported' : `${higherIsBetter ? '≥' : '≤'} ${shown(goal)}`;
    const verdict = goal === null ? '' : isMissed(figure) ? '✗' : '✓';
    lines.push(row(id, `${shown(value)} ${unit === 'ratio' ? '' : unit}`.trim(), bound, verdict));
    lines.push(`    ${partsText(figure.parts)}`);
  }
  const profiles = figures.flatMap(({ id, profile }) =>
    profile === undefined ? [] : [profileText(id, profile)],
  );
  return `${lines.join('\n')}\n${profiles.join('')}`;
}

const row = (id: string, value: string, goal: string, verdict: string): string =>
  `${id.padEnd(32)} ${value.padStart(18)}   ${goal.padEnd(14)} ${verdict}`.trimEnd();

const shown = (value: number): string =>
  value >= 10_000 ? value.toLocaleString('en-US') : String(value);

const partsText = (parts: Parts): string =>
  Object.entries(parts)
    .map(([name, value]) => `${name} ${partText(value)}`)
    .join(' · ');

function partText(value: Parts[string]): string {
  if (typeof value === 'number') return shown(value);
  return typeof value === 'string' ? value : value.map(shown).join(' ');
}

/** Self times of the server's threads under one figure's load. */
export function profileText(id: string, profiles: readonly ThreadProfile[]): string {
  const lines: string[] = [];
  for (const { thread, busy, functions } of profiles) {
    lines.push('', `profile of ${id}, ${thread}: busy ${percent(busy)} of the time; of that`);
    for (const { name, place, share } of functions) {
      lines.push(`  ${percent(share).padStart(6)}  ${name.padEnd(30)} ${place}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
