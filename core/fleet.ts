/** Where the tenants of a blueprint stand: their versions, and whether their schemas are what their version says. */

export interface SchemaDifference {
  readonly kind: string;
  readonly name: string;
  /** `missing` in the tenant, `unexpected` there, or `changed`. */
  readonly change: "missing" | "unexpected" | "changed";
  /** As the blueprint has it; undefined for what is unexpected. */
  readonly expected: string | undefined;
  /** As the tenant has it; undefined for what is missing. */
  readonly found: string | undefined;
}

export interface FleetStatus {
  /** The newest version of the blueprint. */
  readonly version: number;
  readonly tenants: number;
  /** At the newest version. */
  readonly current: number;
  readonly drifted: number;
  /** Not looked at since their version last changed. */
  readonly unchecked: number;
  /** Wall clock of the look that is longest ago; undefined when nobody was looked at. */
  readonly oldestCheckAt: number | undefined;
}

export interface DriftedTenant {
  readonly tenantId: string;
  readonly version: number;
  readonly checkedAt: number;
  /** At most 100 of them. */
  readonly differences: readonly SchemaDifference[];
}
