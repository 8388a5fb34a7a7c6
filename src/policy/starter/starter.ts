import { readPolicyFolder } from '../folder.ts';

/** The starter policy by rule id, ready for `openPolicy`. */
export const starterPolicies = (): Record<string, string> => readPolicyFolder().policies;

/** The schema that every policy set is written against. */
export const starterSchema = (): string => readPolicyFolder().schema;
