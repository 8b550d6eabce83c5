/** Sessions of this instance as administrators see them, and how they are ended. */
import { GatewayError } from "../../core/errors.ts";
import type { SessionInfo } from "../../core/operations.ts";
import { parseDatabaseName } from "../../core/scope.ts";
import type { Session, SessionRegistry } from "../../core/session-registry.ts";

/** Those whose client has proven a secret of the project, oldest first. */
export function listSessions(sessions: SessionRegistry, projectId: string): readonly SessionInfo[] {
  return ownSessions(sessions, projectId).map((session) => describeSession(session, sessions.toWallMs));
}

/** @returns false when the project has no such session here. */
export function endSession(sessions: SessionRegistry, projectId: string, id: string): boolean {
  const session = ownSessions(sessions, projectId).find((each) => each.id === id);
  session?.terminate(new GatewayError("terminated", "terminating connection due to administrator command"));
  return session !== undefined;
}

function ownSessions(sessions: SessionRegistry, projectId: string): Session[] {
  return sessions.list().filter((session) => session.identity?.projectId === projectId);
}

/** `toWall` is added to times of the monotonic clock. */
function describeSession(session: Session, toWall: number): SessionInfo {
  const { credential, databaseName } = session.identity!; // ownSessions has none without
  const name = parseDatabaseName(databaseName);
  const { state, sinceMs, waitingFor, position, pins } = session.activity;
  return {
    id: session.id,
    engine: session.engine,
    database: databaseName,
    tenant: name?.kind === "tenant" ? name.tenant : undefined,
    credentialId: credential.id,
    credentialName: credential.name,
    keyPrefix: credential.prefix,
    role: credential.role,
    address: session.address,
    state,
    waitingFor,
    position,
    pins,
    since: Math.round(sinceMs + toWall),
    connectedAt: Math.round(session.openedAtMs + toWall),
  };
}
