import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // PKCS#11 modules and LevelDB keep state per process, so every file has a process of its own.
    pool: 'forks',
    // Two cores; a SoftHSM token is shared by nothing, yet the disk is.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
