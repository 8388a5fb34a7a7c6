import { tokenStoreContract } from '../contract/token-store.ts';
import { levelHarness, memoryHarness } from './stores.ts';

tokenStoreContract('memory', memoryHarness);
tokenStoreContract('LevelDB', levelHarness);
