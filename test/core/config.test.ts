/** Configuration: sources, their order, every fault named with its place, reload. */
import { describe, expect, it } from "vitest";
import {
  applyReload,
  type Config,
  ConfigError,
  type ConfigSources,
  describeSettings,
  didYouMean,
  findUnknownEnv,
  parseConfig,
  schemaOf,
  settingPaths,
  settings,
  showConfig,
} from "../../core/config.ts";

function parse(sources: Partial<ConfigSources>): Config {
  return parseConfig({ env: {}, flags: {}, ...sources });
}

/** What `parseConfig` complains of, as `source: message` lines. */
function faultsOf(sources: Partial<ConfigSources>): string[] {
  try {
    parse(sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.issues.map((issue) => `${issue.source}: ${issue.message}`);
    throw error;
  }
  return [];
}

describe("config: values", () => {
  it("is the table's defaults when nothing is given", () => {
    const config = parse({});
    for (const path of settingPaths) expect(config[path], path).toEqual(settings[path].default);
    expect(Object.isFrozen(config)).toBe(true);
  });

  it("types each value by its row", () => {
    const config = parse({});
    const port: number = config.pg_port;
    const level: "debug" | "info" | "warn" | "error" = config["log.level"];
    const url: string | undefined = config.database_url;
    const exempt: readonly string[] = config["ip.exempt"];
    const signup: boolean = config.signup_enabled;
    expect([port, level, url, exempt, signup]).toEqual([5432, "info", undefined, [], true]);
  });

  it("lets the file win over defaults, the environment over the file, flags over all", () => {
    const file = { pg_port: 1001, api_port: 1002, ip: { connect_rate: 7 }, data_dir: "/data" };
    const env = { TDB_API_PORT: "2002", TDB_IP_CONNECT_RATE: "8" };
    const config = parse({ file, env, flags: { "ip-connect-rate": "9" } });
    expect([config.data_dir, config.pg_port, config.api_port, config["ip.connect_rate"]]).toEqual(["/data", 1001, 2002, 9]);
  });

  it("reads text of every type from environment and flags", () => {
    const config = parse({
      env: {
        TDB_SIGNUP_ENABLED: "off",
        TDB_IP_EXEMPT: "10.0.0.0/8, ::1,2001:db8::/32",
        TDB_CLUSTERS: '{"eu1":"postgres://a@b/c"}',
        TDB_TLS_REQUIRED: "always",
        TDB_DATABASE_URL: "postgresql://u:p@db.example:5432/postgres?sslmode=require",
      },
      flags: { "pg-port": "-1", "redis-port": "0", "tls-names": "db.example.com,10.1.2.3,*.example.org" },
    });
    expect(config.signup_enabled).toBe(false);
    expect(config["ip.exempt"]).toEqual(["10.0.0.0/8", "::1", "2001:db8::/32"]);
    expect(config.clusters).toEqual({ eu1: "postgres://a@b/c" });
    expect(config["tls.required"]).toBe("always");
    expect(config.database_url).toBe("postgresql://u:p@db.example:5432/postgres?sslmode=require");
    expect([config.pg_port, config.redis_port]).toEqual([-1, 0]);
    expect(config["tls.names"]).toEqual(["db.example.com", "10.1.2.3", "*.example.org"]);
  });

  it("takes an empty environment variable as unset, an empty flag as a value", () => {
    expect(parse({ file: { pg_port: 1 }, env: { TDB_PG_PORT: "", TDB_REDIS_URL: "" } }).pg_port).toBe(1);
    expect(faultsOf({ flags: { "pg-port": "" } })).toEqual(['--pg-port: "" is not a port (−1 … 65535)']);
  });

  it("accepts both ends of every range and refuses what is one beyond", () => {
    for (const path of settingPaths) {
      const row = settings[path];
      if (!("min" in row)) continue;
      const accepted = [row.min, row.max, row.min - 1, row.max + 1, row.min + 0.5].map((value) => schemaOf(path).safeParse(value).success);
      expect(accepted, path).toEqual([true, true, false, false, false]);
    }
  });

  it("has defaults that pass their own checks", () => {
    for (const path of settingPaths) {
      if (settings[path].default !== undefined) expect(schemaOf(path).safeParse(settings[path].default).success, path).toBe(true);
    }
  });

  it("gives every setting a flag and a variable of its own", () => {
    const rows = describeSettings();
    expect(new Set(rows.map((row) => row.flag)).size).toBe(rows.length);
    expect(new Set(rows.map((row) => row.env)).size).toBe(rows.length);
    expect(rows.find((row) => row.path === "ip.connect_rate")).toMatchObject({ flag: "--ip-connect-rate", env: "TDB_IP_CONNECT_RATE" });
  });
});

describe("config: faults", () => {
  it("names the value, what it must be and where it was given", () => {
    expect(faultsOf({ flags: { "pg-port": "abc" } })).toEqual(['--pg-port: "abc" is not a port (−1 … 65535)']);
    expect(faultsOf({ env: { TDB_PG_PORT: "70000" } })).toEqual(["TDB_PG_PORT: 70000 is not a port (−1 … 65535)"]);
    expect(faultsOf({ file: { ip: { connect_rate: "5" } } })).toEqual(['tenantry.json: ip.connect_rate: "5" is not a whole number (1 … 1000000)']);
    expect(faultsOf({ file: { drain_s: -1 }, fileName: "/etc/gw.json" })).toEqual([
      "/etc/gw.json: drain_s: -1 is not a whole number of seconds (0 … 3600)",
    ]);
    expect(faultsOf({ env: { TDB_TLS_REQUIRED: "yes" } })).toEqual(['TDB_TLS_REQUIRED: "yes" is not one of remote, always, never']);
    expect(faultsOf({ env: { TDB_SIGNUP_ENABLED: "perhaps" } })).toEqual(['TDB_SIGNUP_ENABLED: "perhaps" is not true or false']);
    expect(faultsOf({ file: { data_dir: null } })).toEqual(["tenantry.json: data_dir: null is not a path"]);
  });

  it("names the entry of a list", () => {
    expect(faultsOf({ flags: { "ip-exempt": "10.0.0.0/8,10.0.0.0/33" } })).toEqual([
      '--ip-exempt: entry 2: "10.0.0.0/33" is not an IP address or CIDR range',
    ]);
    expect(faultsOf({ file: { tls: { names: ["ok.example", "not a name"] } } })).toEqual([
      'tenantry.json: tls.names: entry 2: "not a name" is not a host name or IP address',
    ]);
    expect(faultsOf({ file: { ip: { exempt: "10.0.0.0/8" } } })).toEqual([
      'tenantry.json: ip.exempt: "10.0.0.0/8" is not a list of IP addresses and CIDR ranges',
    ]);
  });

  it("collects all of them, overridden ones included, in one error", () => {
    const faults = faultsOf({ file: { pg_port: "x" }, env: { TDB_DRAIN_S: "soon" }, flags: { "pg-port": "5433", "api-port": "y" } });
    expect(faults.map((fault) => fault.split(" ")[0])).toEqual(["tenantry.json:", "TDB_DRAIN_S:", "--api-port:"]);
    expect(() => parse({ env: { TDB_DRAIN_S: "soon" } })).toThrow(
      'Cannot use the configuration:\n  TDB_DRAIN_S: "soon" is not a whole number of seconds (0 … 3600)',
    );
  });

  it("never shows a secret", () => {
    const secret = "hunter2";
    const sources: Partial<ConfigSources>[] = [
      { flags: { "redis-url": `http://:${secret}@cache` } },
      { env: { TDB_DATABASE_URL: `mysql://root:${secret}@db` } },
      { file: { clusters: { eu1: `nonsense:${secret}` } } },
      { env: { TDB_CLUSTERS: `eu1=${secret}` } },
    ];
    for (const source of sources) {
      const [fault] = faultsOf(source);
      expect(fault).toContain("the value is not a");
      expect(fault).not.toContain(secret);
    }
    expect(faultsOf(sources[2]!)[0]).toContain('entry "eu1"');
  });

  it("suggests the nearest name for an unknown key or flag, and nothing when none is near", () => {
    expect(faultsOf({ file: { ip: { conect_rate: 5 }, pgport: 1, zebra: 1 } })).toEqual([
      'tenantry.json: ip.conect_rate: unknown setting; did you mean "ip.connect_rate"?',
      'tenantry.json: pgport: unknown setting; did you mean "pg_port"?',
      "tenantry.json: zebra: unknown setting",
    ]);
    expect(faultsOf({ flags: { "pg-prot": "1" } })).toEqual(['--pg-prot: unknown flag; did you mean "--pg-port"?']);
    expect(didYouMean("", ["a-long-name"])).toBe("");
  });

  it("refuses a file that is not an object, a group that is not one, dotted names and what does not belong in it", () => {
    expect(faultsOf({ file: [] })).toEqual(["tenantry.json: the file must hold one JSON object"]);
    expect(faultsOf({ file: null })).toEqual(["tenantry.json: the file must hold one JSON object"]);
    expect(faultsOf({ file: { ip: 5 } })).toEqual(["tenantry.json: ip: 5 is not an object of settings"]);
    expect(faultsOf({ file: { "ip.connect_rate": 5 } })).toEqual([
      'tenantry.json: ip.connect_rate: write it nested: { "ip": { "connect_rate": … } }',
    ]);
    expect(faultsOf({ file: { config: "other.json" } })[0]).toMatch(/^tenantry\.json: config: unknown setting/);
    expect(faultsOf(JSON.parse('{"file":{"__proto__":{"pg_port":1},"$schema":"x"}}'))[0]).toMatch(/^tenantry\.json: __proto__: unknown setting/);
  });

  it("sees what takes two values, and names the source", () => {
    expect(faultsOf({ flags: { "mysql-port": "5432" } })).toEqual(["--mysql-port: port 5432 is already taken by pg_port"]);
    expect(faultsOf({ flags: { "mysql-port": "0", "redis-port": "0", "api-port": "-1", "mongo-port": "-1" } })).toEqual([]);
    expect(faultsOf({ env: { TDB_TLS_CERT_FILE: "c.pem" } })).toEqual(["TDB_TLS_CERT_FILE: a certificate needs its key: set tls.key_file too"]);
    expect(faultsOf({ file: { tls: { key_file: "k.pem" } } })).toEqual([
      "tenantry.json: tls.key_file: a key needs its certificate: set tls.cert_file too",
    ]);
    expect(faultsOf({ file: { auth_ban: { ban_s: 1000 } } })).toEqual(["auth_ban.max_ban_s: 900 is shorter than auth_ban.ban_s (1000)"]);
  });

  it("only warns of TDB_ variables it does not know, the command line's own left out", () => {
    const unknown = findUnknownEnv({ TDB_PGPORT: "1", TDB_API_KEY: "k", TDB_API_URL: "u", TDB_HOST: "::", PATH: "" });
    expect(unknown).toEqual([{ path: "TDB_PGPORT", source: "TDB_PGPORT", message: 'unknown setting, not used; did you mean "TDB_PG_PORT"?' }]);
  });
});

describe("config: reload", () => {
  it("takes over what may change and names what needs a restart", () => {
    const current = parse({});
    const next = parse({ flags: { "pg-port": "6000", "ip-exempt": "10.0.0.0/8", "log-level": "debug" } });
    const { config, changed, needRestart } = applyReload(current, next);
    expect(changed).toEqual(["ip.exempt", "log.level"]);
    expect(needRestart).toEqual(["pg_port"]);
    expect([config.pg_port, config["ip.exempt"], config["log.level"]]).toEqual([5432, ["10.0.0.0/8"], "debug"]);
    expect(applyReload(config, next)).toMatchObject({ changed: [], needRestart: ["pg_port"] });
  });
});

describe("config: shown", () => {
  it("says that a secret is set, not what it is", () => {
    const shown = showConfig(parse({ env: { TDB_DATABASE_URL: "postgres://a:b@c/d", TDB_CLUSTERS: '{"x":"postgres://a:b@c/d"}' } }));
    expect([shown.database_url, shown.clusters, shown.redis_url, shown.pg_port]).toEqual(["(set)", "(set)", undefined, 5432]);
  });
});
