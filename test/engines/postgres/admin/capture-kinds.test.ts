/** Schema changes as people make them: each kind captured with its exact text, and replayed on a tenant to the very same schema. */
import { describe, expect, test } from "vitest";
import { captureCases } from "./capture-kinds.ts";
import { readCatalog } from "./catalog.ts";
import { applyOptions, useAdmin, versionsFrom } from "./fixture.ts";

const { admin, workspace, as, postgres, asSuperuser } = useAdmin();

describe("capture and replay", () => {
  test.each(captureCases)("$name", async ({ messages, versions }) => {
    const database = await workspace();
    const own = (sql: string) => sql.replaceAll("{db}", database.name);
    await as(database, "admin", async (session) => {
      for (const message of messages) await session.query(own(message));
    });
    const captured = await admin().readCapturedDdl(database, 0);
    expect(captured.map((ddl) => ddl.sql)).toEqual((versions ?? messages).map(own));

    const template = postgres().freshDatabase();
    await admin().createTemplateDatabase(template);
    await admin().applyVersions(template, versionsFrom(captured), applyOptions);
    const tenant = postgres().freshDatabase();
    await admin().createTenantDatabase(tenant, template);
    const designed = await asSuperuser(database, readCatalog);
    expect(designed.length).toBeGreaterThan(5);
    expect(await asSuperuser(template, readCatalog)).toEqual(designed);
    expect(await asSuperuser(tenant, readCatalog)).toEqual(designed);
  });
});
