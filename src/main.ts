#!/usr/bin/env -S node --single-threaded-gc
import { run } from './cli/run.ts';

// `lockstep … | head` closes our output while it is being written: the command then stops by
// itself, and what comes after its end must not become a stack trace.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});
process.exitCode = await run(process.argv.slice(2));
