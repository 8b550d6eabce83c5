/** The watch over secrets in logs sees them: learned from answers in any depth, and found in any line. */
import { expect, it } from "vitest";
import { IssuedSecrets } from "./support/issued-secrets.ts";

it("finds each kind of secret an answer holds, and nothing else", async () => {
  const secrets = {
    key: `tenantsdb_sk_${"a1".repeat(32)}`,
    proxy_password: "tdb_0123456789abcdef",
    databases: [{ connection_string: "postgresql://tdb_2abf90d3:tdb_fedcba9876543210@127.0.0.1:5432/myapp__wayne" }],
  };
  const issued = new IssuedSecrets();
  const api = issued.watch(async () => ({ status: 201, body: { ...secrets, id: "key_0123456789abcdef0" } }));
  await api("POST", "/apikeys");
  issued.assertNotIn('{"event":"login refused","user":"tdb_2abf90d3","credential":"key_0123456789abcdef0"}\n');
  for (const secret of [secrets.key, secrets.proxy_password, "tdb_fedcba9876543210"])
    expect(() => issued.assertNotIn(`{"event":"fine"}\nERROR:  role "${secret}" does not exist\n`)).toThrow(/^secrets in the log:\nERROR/);
});
