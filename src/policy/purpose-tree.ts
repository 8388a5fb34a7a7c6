/** The part of HL7 v3-ActReason (PurposeOfUse) that Lockstep knows, as data: a tree moves between
 *  editions, so policies and log entries are tied to the version beside it.
 *
 *  CAREMGT stood under TREAT in the 2018 edition that FHIR R4 links and stands under HOPERAT in
 *  this one, since care coordination (COC) was taken out of its definition: a permit for TREAT
 *  written against the older edition does not reach CAREMGT here.
 *
 *  HLEGAL and MLTRAINING stand under HOPERAT: a permit for HOPERAT reaches both unless a policy
 *  cuts them off, as the starter policy does. */
export const PURPOSE_TREE_VERSION = 'v3-ActReason/2026-11';

/** Code to the code above it; '' at the top. A parent stands before its children. */
export const PURPOSE_PARENTS = {
  TREAT: '',
  ETREAT: 'TREAT',
  BTG: 'ETREAT',
  ERTREAT: 'ETREAT',
  COC: 'TREAT',
  CLINTRL: 'TREAT',
  POPHLTH: 'TREAT',

  HPAYMT: '',
  COVERAGE: 'HPAYMT',
  CLMATTCH: 'HPAYMT',
  COVAUTH: 'HPAYMT',

  HOPERAT: '',
  CAREMGT: 'HOPERAT',
  HLEGAL: 'HOPERAT',
  HQUALIMP: 'HOPERAT',
  FRAUD: 'HOPERAT',
  MLTRAINING: 'HOPERAT',
  SYSDEV: 'HOPERAT',
  HTEST: 'SYSDEV',

  HRESCH: '',
  CLINTRCH: 'HRESCH',
  CLINTRCHPC: 'CLINTRCH',
  CLINTRCHNPC: 'CLINTRCH',
  PRECLINTRCH: 'CLINTRCH',
  BIORCH: 'HRESCH',
  DSRCH: 'HRESCH',
  POARCH: 'HRESCH',
  TRANSRCH: 'HRESCH',

  PUBHLTH: '',
  DISASTER: 'PUBHLTH',
  THREAT: 'PUBHLTH',

  HMARKT: '',

  PATRQT: '',
  FAMRQT: 'PATRQT',
  PWATRNY: 'PATRQT',
  SUPNWK: 'PATRQT',
} as const;
