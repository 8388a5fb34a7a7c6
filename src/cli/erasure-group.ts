import type { Command } from 'commander';

/** `lockstep erasure …`: certificates of what was erased. Several files add to it, in any order:
 *  whoever comes first makes the group. */
export function erasureGroup(program: Command): Command {
  return (
    program.commands.find((command) => command.name() === 'erasure') ??
    program.command('erasure').description('Certificates of what was erased')
  );
}
