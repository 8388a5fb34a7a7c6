import { erasureContract } from '../contract/erasure.ts';
import { levelHarness, memoryHarness } from './stores.ts';

erasureContract('memory', memoryHarness);
erasureContract('LevelDB', levelHarness);
