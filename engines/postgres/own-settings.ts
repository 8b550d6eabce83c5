/**
 * Any role may keep settings for itself (ALTER ROLE … SET): they outlive its session and shape every later one of the same role. A session is
 * asked for them before it is used, with the timeouts that its role or its client may have set lifted for the question.
 */
export const ownSettingsQueries = [
  "SET statement_timeout TO 0",
  "SELECT FROM pg_catalog.pg_db_role_setting WHERE setrole OPERATOR(pg_catalog.=) session_user::pg_catalog.regrole",
  "RESET statement_timeout",
] as const;

/** The same in one message, which is one transaction: behind a pooler, two would go to different sessions. */
export const ownSettingsQuestion = `SET LOCAL statement_timeout TO 0; ${ownSettingsQueries[1]}`;

/** How often a role is put right before the login is given up: somebody may be changing it again and again. */
export const maxRestores = 3;
