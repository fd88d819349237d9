// Bounds that both the rules and the policy keep.

/** A grant of a range is one element for each port; more than this in one knock is no opening but a hole. */
export const MAX_PORTS_AT_ONCE = 1024;
