import { rulesContract } from '../contract/rules.ts';
import { levelHarness, memoryHarness } from './stores.ts';

rulesContract('memory', memoryHarness);
rulesContract('LevelDB', levelHarness);
