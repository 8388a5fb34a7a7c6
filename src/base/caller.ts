/** Who calls, as proven by the edge: never taken from a message. */
export interface Caller {
  /** Stable id, e.g. `spiffe://hospital-a.example/ehr` or `dev:clinician`. Safe to log. */
  readonly id: string;
  /** Organisation that the caller belongs to; completes a domain id without one. */
  readonly organisation: string;
}
