/** X-Forwarded-For: believed from trusted proxies only, and no further to the left than they vouch for. */
import { describe, expect, it } from "vitest";
import { matchCidrs } from "../../core/limit.ts";
import { clientAddress } from "../../gateway/forwarded.ts";

const isTrusted = matchCidrs(["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48"]);

describe("client address", () => {
  it.each([
    ["a stranger's header is not read", "203.0.113.1", "198.51.100.7", "203.0.113.1"],
    ["no header", "10.0.0.1", null, "10.0.0.1"],
    ["one hop", "10.0.0.1", "198.51.100.7", "198.51.100.7"],
    ["what the client itself wrote stands left of what the proxy saw", "10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"],
    ["two proxies", "10.0.0.1", "1.2.3.4, 198.51.100.7, 10.0.0.2", "198.51.100.7"],
    ["nothing but proxies", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["with a port", "10.0.0.1", "198.51.100.7:4711", "198.51.100.7"],
    ["IPv6, and in brackets", "2001:db8:1::1", "2001:db8:2::9,[2001:db8:1::2]:80", "2001:db8:2::9"],
    ["IPv4 as IPv6", "10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"],
    ["loopback is not believed", "10.0.0.1", "127.0.0.1", "10.0.0.1"],
    ["what is no address neither", "10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"],
    ["an empty hop neither", "10.0.0.1", "198.51.100.7,", "10.0.0.1"],
    ["a proxy on this machine", "127.0.0.1", "198.51.100.7", "198.51.100.7"],
  ])("%s", (_, peer, header, expected) => expect(clientAddress(peer, header, isTrusted)).toBe(expected));

  it("a header of a megabyte costs little", () => {
    expect(clientAddress("10.0.0.1", "10.0.0.2,".repeat(120_000), isTrusted)).toBe("10.0.0.1");
    expect(clientAddress("10.0.0.1", "9".repeat(1_000_000), isTrusted)).toBe("10.0.0.1");
  });
});
