/** Outbound connections: special addresses are refused in every spelling, names are resolved once. */
import { describe, expect, test } from "vitest";
import { refusedKind } from "../../gateway/outbound/addresses.ts";
import { type Resolve, resolveTarget } from "../../gateway/outbound/outbound.ts";

const strict = { allowPrivate: false, allow: [] };

describe("outbound addresses", () => {
  test.each([
    ["127.0.0.1", "a loopback address"],
    ["127.255.1.2", "a loopback address"],
    ["::1", "a loopback address"],
    ["0:0:0:0:0:0:0:1", "a loopback address"],
    ["::ffff:127.0.0.1", "a loopback address"],
    ["::ffff:7f00:1", "a loopback address"],
    ["0000:0000:0000:0000:0000:FFFF:7f00:0001", "a loopback address"],
    ["::127.0.0.1", "a loopback address"],
    ["64:ff9b::7f00:1", "a loopback address"],
    ["2002:7f00:0001::5", "a loopback address"],
    ["169.254.169.254", "a cloud metadata address"],
    ["::ffff:169.254.169.254", "a cloud metadata address"],
    ["64:ff9b::a9fe:a9fe", "a cloud metadata address"],
    ["fd00:ec2::254", "a cloud metadata address"],
    ["100.100.100.200", "a cloud metadata address"],
    ["169.254.1.1", "a link-local address"],
    ["fe80::1", "a link-local address"],
    ["fe80::1%eth0", "a link-local address"],
    ["10.1.2.3", "a private address"],
    ["172.31.255.255", "a private address"],
    ["192.168.0.1", "a private address"],
    ["100.64.0.1", "a private address"],
    ["fd12::1", "a private address"],
    ["0.0.0.0", "an unspecified address"],
    ["::", "an unspecified address"],
    ["224.0.0.1", "a multicast or reserved address"],
    ["255.255.255.255", "a multicast or reserved address"],
    ["ff02::1", "a multicast or reserved address"],
  ])("%s is %s", (address, kind) => {
    expect(refusedKind(address, strict)).toBe(kind);
  });

  test.each(["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])(
    "%s may be dialled",
    (address) => {
      expect(refusedKind(address, strict)).toBeUndefined();
    },
  );

  test("private addresses by one switch, anything by its range, mapped spellings included", () => {
    expect(refusedKind("10.1.2.3", { allowPrivate: true, allow: [] })).toBeUndefined();
    expect(refusedKind("127.0.0.1", { allowPrivate: true, allow: [] })).toBe("a loopback address");
    expect(refusedKind("100.100.100.200", { allowPrivate: true, allow: [] })).toBe("a cloud metadata address");
    const own = { allowPrivate: false, allow: ["127.0.0.0/8", "10.1.0.0/16"] };
    expect(refusedKind("127.0.0.1", own)).toBeUndefined();
    expect(refusedKind("::ffff:127.0.0.1", own)).toBeUndefined();
    expect(refusedKind("10.1.9.9", own)).toBeUndefined();
    expect(refusedKind("10.2.0.1", own)).toBe("a private address");
  });
});

describe("outbound targets", () => {
  const resolver = (...addresses: string[]) => {
    const asked: string[] = [];
    const resolve: Resolve = async (host) => {
      asked.push(host);
      return addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    };
    return { asked, resolve };
  };

  test("a name is asked for once and its address given to dial", async () => {
    const { asked, resolve } = resolver("203.0.113.7");
    expect(await resolveTarget("db.example", 5432, strict, resolve)).toEqual({ host: "db.example", port: 5432, address: "203.0.113.7", family: 4 });
    expect(asked).toEqual(["db.example"]);
  });

  test("a name with good and bad addresses gives a good one; with bad ones only it is refused", async () => {
    expect((await resolveTarget("mixed.example", 1, strict, resolver("127.0.0.1", "203.0.113.7").resolve)).address).toBe("203.0.113.7");
    await expect(resolveTarget("inside.example", 1, strict, resolver("10.0.0.1", "::1").resolve)).rejects.toMatchObject({
      kind: "forbidden",
      message:
        'cannot connect to "inside.example": it is a private address; the server\'s operator can allow it with import.allow_private_addresses or import.allow_addresses',
    });
  });

  test("the platform's own resolver: localhost and numbers in odd forms are loopback", async () => {
    for (const host of ["localhost", "127.1", "2130706433", "0x7f000001", "[::1]"]) {
      await expect(resolveTarget(host, 5432, strict)).rejects.toMatchObject({ kind: expect.stringMatching(/forbidden|bad_request/) });
    }
    expect((await resolveTarget("localhost", 5432, { allowPrivate: false, allow: ["127.0.0.1", "::1"] })).address).toMatch(/^(127\.0\.0\.1|::1)$/);
  });

  test("no sockets of the file system, no odd ports, no unknown names", async () => {
    for (const host of ["/var/run/postgresql", "", "a b", "evil.example/x", "user@host", "-x", "%00"]) {
      await expect(resolveTarget(host, 5432, strict, resolver("203.0.113.7").resolve)).rejects.toMatchObject({ kind: "bad_request" });
    }
    for (const port of [0, 65_536, 1.5, Number.NaN]) {
      await expect(resolveTarget("db.example", port, strict, resolver("203.0.113.7").resolve)).rejects.toMatchObject({ kind: "bad_request" });
    }
    await expect(resolveTarget("none.example", 5432, strict, () => Promise.reject(new Error("ENOTFOUND")))).rejects.toMatchObject({
      kind: "bad_request",
    });
  });
});
