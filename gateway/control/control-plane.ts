/** The control plane as one object: the verbs of core/control-plane.ts over the store and the clusters, with the work behind them. */
import type { ControlPlane } from "../../core/control-plane.ts";
import type { SchemaDesign } from "../../core/schema-design.ts";
import { translateStoreError } from "../store/store-errors.ts";
import * as accounts from "./accounts.ts";
import * as blueprints from "./blueprints.ts";
import * as clientCertificates from "./client-certificates.ts";
import { type ControlConfig, type ControlContext, type ControlOptions, makeContext, nowDate } from "./context.ts";
import * as credentials from "./credentials.ts";
import * as follow from "./deployment-follow.ts";
import { runBlueprint } from "./deployment-runner.ts";
import * as deployments from "./deployments.ts";
import * as drift from "./drift.ts";
import { queryTenants } from "./fleet-queries.ts";
import { JobQueue } from "./job-queue.ts";
import { listPending, skipChange } from "./pending.ts";
import * as projects from "./projects.ts";
import * as queries from "./queries.ts";
import { checkReady } from "./ready.ts";
import { sweep } from "./recovery.ts";
import { listReferenceTables, setReferenceTable } from "./reference-data.ts";
import { revertChange } from "./revert.ts";
import { loadSchema, readSchema } from "./schema-load.ts";
import * as settings from "./settings.ts";
import { createTenant } from "./tenant-create.ts";
import type { HoldHandler } from "./tenant-holds.ts";
import { moveTenant } from "./tenant-move.ts";
import * as tenants from "./tenants.ts";
import { refreshWorkspaces } from "./workspace-refresh.ts";
import * as workspaces from "./workspaces.ts";

export interface RunningControlPlane extends ControlPlane {
  /** For the parts of the control plane that live in folders of their own. */
  readonly context: ControlContext;
  readonly design: SchemaDesign;
  /** To be called first: records the clusters, starts cleaning up after crashes, then takes jobs and sweeps until `stop`. */
  start(): Promise<void>;
  /** Lets statements in progress end, hands deployments over, waits for work in the background. The store stays open. */
  stop(): Promise<void>;
  /** One sweep now, as `start` and the clock make them. */
  sweep(): Promise<void>;
  /** Compares the schemas of tenants that are due, a few at most. @returns how many. */
  checkDrift(limit?: number): Promise<number>;
  /** Resolves when no work is left in the background. */
  settled(): Promise<void>;
  /** New numbers for what comes. */
  reload(config: Pick<ControlConfig, "spareDatabases" | "trashDays" | "apiQueryTimeoutMs" | "driftCheckIntervalS">): void;
  /** Who asks this instance's own sessions to wait. */
  serveHolds(handler: HoldHandler | undefined): void;
  /** A client has proven this credential. Written later, in a batch. */
  noteUse(credentialId: string): void;
}

/** @throws RangeError for a configuration without clusters. */
export function createControlPlane(options: ControlOptions): RunningControlPlane {
  const context = makeContext(options);
  const stopping = new AbortController();
  const queue = new JobQueue(context, (workspaceId) => runBlueprint(context, workspaceId, stopping.signal), {
    name: "deployments",
    atOnce: context.config.deploymentsAtOnce,
  });
  return { context, design: bindDesign(context), ...bindNouns(context), ...bindDeployments(context, queue), ...bindLife(context, queue, stopping) };
}

/** Gives a function its context, and says "the control database is not reachable" where it is not. */
function bind<A extends unknown[], R>(
  context: ControlContext,
  verb: (context: ControlContext, ...args: A) => Promise<R>,
): (...args: A) => Promise<R> {
  return async (...args) => {
    try {
      return await verb(context, ...args);
    } catch (error) {
      throw translateStoreError(error, "backend_unreachable");
    }
  };
}

function bindDesign(context: ControlContext): SchemaDesign {
  return {
    listPending: bind(context, listPending),
    skipChange: bind(context, skipChange),
    revertChange: bind(context, revertChange),
    readSchema: bind(context, readSchema),
    loadSchema: bind(context, loadSchema),
    listReferenceTables: bind(context, listReferenceTables),
    setReferenceTable: bind(context, setReferenceTable),
  };
}

type DeploymentVerbs =
  | "createDeployment"
  | "listDeployments"
  | "listTenantDeployments"
  | "getDeployment"
  | "waitForDeployment"
  | "followDeployment"
  | "queryTenants"
  | "cancelDeployment"
  | "retryDeployment";

function bindNouns(context: ControlContext): Omit<ControlPlane, DeploymentVerbs> {
  return {
    signup: bind(context, accounts.signup),
    login: bind(context, accounts.login),
    authenticateKey: bind(context, credentials.authenticateKey),
    authenticateSession: bind(context, accounts.authenticateSession),
    logout: bind(context, accounts.logout),
    listProjects: bind(context, accounts.listProjects),
    createProject: bind(context, projects.createProject),
    getProject: bind(context, projects.getProject),
    renameProject: bind(context, projects.renameProject),
    deleteProject: bind(context, projects.deleteProject),
    getClientCertificates: bind(context, clientCertificates.getClientCertificates),
    setClientCertificates: bind(context, clientCertificates.setClientCertificates),
    listCredentials: bind(context, credentials.listCredentials),
    createCredential: bind(context, credentials.createCredential),
    revokeCredential: bind(context, credentials.revokeCredential),
    rotateCredential: bind(context, credentials.rotateCredential),
    listWorkspaces: bind(context, workspaces.listWorkspaces),
    createWorkspace: bind(context, workspaces.createWorkspace),
    getWorkspace: bind(context, workspaces.getWorkspace),
    describeWorkspace: bind(context, workspaces.describeWorkspace),
    deleteWorkspace: bind(context, workspaces.deleteWorkspace),
    queryWorkspace: bind(context, queries.queryWorkspace),
    getWorkspaceSettings: bind(context, settings.getWorkspaceSettings),
    updateWorkspaceSettings: bind(context, settings.updateWorkspaceSettings),
    listBlueprints: bind(context, blueprints.listBlueprints),
    getBlueprint: bind(context, blueprints.getBlueprint),
    listBlueprintVersions: bind(context, blueprints.listBlueprintVersions),
    getBlueprintVersion: bind(context, blueprints.getBlueprintVersion),
    listTenants: bind(context, tenants.listTenants),
    createTenant: bind(context, createTenant),
    getTenant: bind(context, tenants.getTenant),
    deleteTenant: bind(context, tenants.deleteTenant),
    restoreTenant: bind(context, tenants.restoreTenant),
    moveTenant: bind(context, moveTenant),
    suspendTenant: bind(context, tenants.suspendTenant),
    resumeTenant: bind(context, tenants.resumeTenant),
    queryTenant: bind(context, queries.queryTenant),
    getTenantSettings: bind(context, settings.getTenantSettings),
    updateTenantSettings: bind(context, settings.updateTenantSettings),
    getFleet: bind(context, drift.getFleet),
    listDrift: bind(context, drift.listDrift),
    checkReady: bind(context, checkReady),
  };
}

function bindDeployments(context: ControlContext, queue: JobQueue): Pick<ControlPlane, DeploymentVerbs> {
  return {
    createDeployment: bind(context, (ctx, ...args: Parameters<ControlPlane["createDeployment"]>) =>
      deployments.createDeployment(ctx, queue, ...args),
    ),
    listDeployments: bind(context, deployments.listDeployments),
    getDeployment: bind(context, deployments.getDeployment),
    listTenantDeployments: bind(context, follow.listTenantDeployments),
    waitForDeployment: bind(context, follow.waitForDeployment),
    queryTenants: (...args) => queryTenants(context, ...args),
    followDeployment: (...args) => follow.followDeployment(context, ...args),
    cancelDeployment: bind(context, (ctx, ...args: Parameters<ControlPlane["cancelDeployment"]>) =>
      deployments.cancelDeployment(ctx, queue, ...args),
    ),
    retryDeployment: bind(context, (ctx, ...args: Parameters<ControlPlane["retryDeployment"]>) => deployments.retryDeployment(ctx, queue, ...args)),
  };
}

function bindLife(
  context: ControlContext,
  queue: JobQueue,
  stopping: AbortController,
): Pick<RunningControlPlane, "start" | "stop" | "sweep" | "checkDrift" | "settled" | "reload" | "serveHolds" | "noteUse"> {
  let stopSweeping: (() => void) | undefined;
  return {
    async start() {
      await checkMasterKey(context);
      await recordClusters(context);
      await queue.start();
      const sweepSoon = () => context.background.runOnce("sweep", () => sweep(context, queue));
      refreshWorkspaces(context);
      sweepSoon(); // not waited for: much may have been left, and the data path needs none of it
      const stopLooking = drift.watchDrift(context);
      const stopSweep = context.clock.every(context.config.sweepMs, sweepSoon);
      stopSweeping = () => {
        stopSweep();
        stopLooking();
      };
    },
    async stop() {
      stopSweeping?.();
      stopping.abort(new Error("the control plane is stopping"));
      await context.background.stop();
      await queue.stop();
      await context.uses.stop();
      context.holds.stop();
    },
    sweep: () => sweep(context, queue),
    checkDrift: (limit) => drift.checkDrift(context, limit),
    settled: () => context.background.settled(),
    reload(config) {
      Object.assign(context.config, config);
      refreshWorkspaces(context);
    },
    serveHolds(handler) {
      context.holds.handler = handler;
    },
    noteUse: (credentialId) => context.uses.note(credentialId),
  };
}

/** Verifiers are of no use under another master key; better said at the start than at every login. */
async function checkMasterKey(context: ControlContext): Promise<void> {
  const fingerprint = context.secrets.lookupHash("master key of this store");
  const { db } = context.store;
  await db
    .insertInto("meta")
    .values({ key: "master_key", value: fingerprint })
    .onConflict((oc) => oc.column("key").doNothing())
    .execute();
  const row = await db.selectFrom("meta").select("value").where("key", "=", "master_key").executeTakeFirstOrThrow();
  if (row.value !== fingerprint) {
    throw new Error(
      "Cannot use this control database with this master key: its credentials were made under another one. Give the master key it was set up with.",
    );
  }
}

async function recordClusters(context: ControlContext): Promise<void> {
  const rows = context.clusters.list().map((cluster) => ({ ...cluster, created_at: nowDate(context) }));
  await context.store.db
    .insertInto("clusters")
    .values(rows)
    .onConflict((oc) => oc.column("id").doUpdateSet((eb) => ({ name: eb.ref("excluded.name") })))
    .execute();
}
