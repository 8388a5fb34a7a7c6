import type { Command } from 'commander';

/** `lockstep vault …`: the store of records as a whole, online and offline. Several files add to
 *  it, in any order: whoever comes first makes the group. */
export function vaultGroup(program: Command): Command {
  return (
    program.commands.find((command) => command.name() === 'vault') ??
    program.command('vault').description('The store of records: its state, checks, repairs')
  );
}
