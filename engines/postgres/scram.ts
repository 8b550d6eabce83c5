/** SCRAM as PostgreSQL speaks it is the core's, since MongoDB speaks it too. */
export * from "../../core/scram.ts";
