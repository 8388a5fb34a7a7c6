import { aliasesContract } from '../contract/aliases.ts';
import { subjectsContract } from '../contract/subjects.ts';
import { levelHarness, memoryHarness } from './stores.ts';

for (const contract of [subjectsContract, aliasesContract]) {
  contract('memory', memoryHarness);
  contract('LevelDB', levelHarness);
}
