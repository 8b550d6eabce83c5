/** An example for each command whose help has none of its own, so that every --help shows a line to type. */
import type { Command } from "commander";

const examples: Readonly<Record<string, string>> = {
  signup: "tdb signup --email ada@example.com",
  login: "tdb login --email ada@example.com",
  logout: "tdb logout",
  "config show": "tdb config show",
  "projects list": "tdb projects list",
  "projects create": "tdb projects create --name Staging",
  "projects delete": "tdb projects delete tdb_2abf90d3 --confirm tdb_2abf90d3",
  "projects switch": "tdb projects switch tdb_2abf90d3",
  "client-certificates show": "tdb client-certificates show tdb_2abf90d3",
  "client-certificates set": "tdb client-certificates set tdb_2abf90d3 --file clients-ca.pem",
  "client-certificates clear": "tdb client-certificates clear tdb_2abf90d3",
  "apikeys list": "tdb apikeys list",
  "apikeys delete": "tdb apikeys delete key_5f0c2a",
  "apikeys rotate": "tdb apikeys rotate key_5f0c2a",
  "workspaces list": "tdb workspaces list",
  "workspaces create": "tdb workspaces create --name myapp",
  "workspaces get": "tdb workspaces get myapp",
  "workspaces diff": "tdb workspaces diff myapp",
  "workspaces diff-skip": "tdb workspaces diff-skip myapp 7",
  "workspaces diff-revert": "tdb workspaces diff-revert myapp 7",
  "workspaces table": "tdb workspaces table myapp plans --deploy-data true",
  "workspaces delete": "tdb workspaces delete myapp",
  "workspaces import-analyze": "tdb workspaces import-analyze myapp --source postgresql://me@db.example/shop --routing-field tenant_id",
  "workspaces import-status": "tdb workspaces import-status myapp --wait",
  "workspaces import-cancel": "tdb workspaces import-cancel myapp",
  "workspaces import-retry": "tdb workspaces import-retry myapp",
  "blueprints list": "tdb blueprints list",
  "blueprints get": "tdb blueprints get myapp",
  "blueprints drift": "tdb blueprints drift myapp",
  "blueprints versions": "tdb blueprints versions myapp --json",
  "tenants list": "tdb tenants list --limit 1000",
  "tenants get": "tdb tenants get wayne",
  "tenants delete": "tdb tenants delete wayne",
  "tenants suspend": "tdb tenants suspend wayne",
  "tenants resume": "tdb tenants resume wayne",
  "tenants restore": "tdb tenants restore wayne",
  "tenants settings": "tdb tenants settings wayne --max-connections 20",
  "tenants deployments": "tdb tenants deployments wayne",
  "tenants backups": "tdb tenants backups wayne",
  "tenants backup-download": "tdb tenants backup-download wayne bak_5f0c2a7d9e1b3c48",
  "tenants backup-delete": "tdb tenants backup-delete wayne bak_5f0c2a7d9e1b3c48",
  "tenants rollback-undo": "tdb tenants rollback-undo wayne rbk_5f0c2a7d",
  "tenants rollbacks": "tdb tenants rollbacks wayne",
  "tenants backup-restore": "tdb tenants backup-restore wayne bak_5f0c2a7d9e1b3c48 --name wayne_before",
  "deployments list": "tdb deployments list",
  "deployments status": "tdb deployments status dep_41c09e",
  "deployments cancel": "tdb deployments cancel dep_41c09e",
  "deployments retry": "tdb deployments retry dep_41c09e",
  "sessions list": "tdb sessions",
  "sessions kill": "tdb sessions kill 9f2c41d07ab3",
  "bans list": "tdb bans",
  "bans lift": "tdb bans lift 192.0.2.17",
  audit: "tdb audit --since 1d",
  "master-key": "tdb master-key rotate",
  version: "tdb version",
  up: "tdb up --pg-port 6432",
};

/** Adds them to the commands of a program that is complete otherwise. */
export function addExamples(program: Command): void {
  for (const [path, example] of Object.entries(examples)) {
    const command = path.split(" ").reduce<Command | undefined>((at, name) => at?.commands.find((child) => child.name() === name), program);
    command?.addHelpText("after", `\nExample:\n  $ ${example}`);
  }
}
