/** SCRAM-SHA-256: the RFC's own numbers, both sides against each other, and every way of getting it wrong. */
import { describe, expect, it } from "vitest";
import type { Crypto } from "../../core/crypto.ts";
import { readClientFirst, ScramClient, ScramServer } from "../../core/scram.ts";
import { makeScramKeys, toBase64 } from "../../core/secrets.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { testCrypto } from "../engines/postgres/support/wire.ts";

const text = (value: string) => Buffer.from(value);
const first = (value: string, plus = false, offered = false) => readClientFirst(text(value), plus, offered);
const violation = expect.objectContaining({ kind: "protocol_violation" });
const salt = Buffer.alloc(16, 3);

/** A server at the point where it waits for client-final. */
function serverFor(header = "n,,", binding?: Uint8Array, nonce = "clientnonce") {
  const clientFirst = first(`${header}n=,r=${nonce}`, header.startsWith("p="), binding !== undefined);
  const server = new ScramServer(testCrypto, clientFirst, salt, 4096, binding);
  const serverNonce = /^r=([^,]+)/.exec(server.serverFirst)![1]!;
  return { server, nonce: serverNonce, first: clientFirst };
}

const proof = Buffer.alloc(32, 5).toString("base64");

describe("SCRAM, RFC 7677", () => {
  it("accepts and produces the messages of the RFC's example", async () => {
    const serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const keys = await makeScramKeys(testCrypto, "pencil", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"), 4096);
    // The RFC's server nonce is no base64: it is put in where the random bytes are made.
    const crypto: Crypto = { ...testCrypto, randomBytes: () => new Uint8Array(18) };
    const bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    const authMessage = `${bare},r=rOprNGfwEbeRWgbNEkqO${serverNonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO${serverNonce}`;
    const { ScramProof } = await import("../../core/scram.ts");
    const rfc = new ScramProof(crypto, text(authMessage), Buffer.from("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "base64"));
    expect(rfc.matches(keys)).toBe(true);
    expect(rfc.serverFinal(keys)).toBe("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    expect(rfc.matches(await makeScramKeys(testCrypto, "pencil ", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"), 4096))).toBe(false);
  });

  it("lets its own client in with the right password among many, and with no other", async () => {
    const keys = await Promise.all(["a", "b", "ünï", ""].map((password) => makeScramKeys(testCrypto, password, salt, 4096)));
    const client = new ScramClient(testCrypto, "ünï");
    const server = new ScramServer(testCrypto, first(client.clientFirst), salt, 4096, undefined);
    const attempt = server.readClientFinal(text(await client.answer(server.serverFirst)));
    expect(keys.map((key) => attempt.matches(key))).toEqual([false, false, true, false]);
    expect(() => client.verify(attempt.serverFinal(keys[2]!))).not.toThrow();
    expect(() => client.verify(attempt.serverFinal(keys[1]!))).toThrow(violation);
  });
});

describe("SCRAM client-first", () => {
  it.each(["n,,n=,r=abc", "n,,n=user,r=a", "y,,n=,r=abc"])("takes %j", (value) => expect(first(value).bare).toMatch(/^n=.*,r=/));

  it.each([
    "",
    "n",
    "n,,",
    "n,,n=",
    "n,,r=abc",
    "n,,r=abc,n=",
    "n,,n=,n=,r=abc",
    "n,,n=,r=",
    "n,,n=,r=a b",
    "n,,n=,r=a\u0000",
    "n,,n=,r=é",
    "n,,n=,r=abc,r=def",
    "n,,n=,r=abc,x=1",
    "n,,m=1,n=,r=abc",
    "n,a=,n=,r=abc",
    "n,a=admin,n=,r=abc",
    "x,,n=,r=abc",
    "N,,n=,r=abc",
    "p=,,n=,r=abc",
    "p=tls-server-end-point,,n=,r=abc",
    `n,,n=,r=${"a".repeat(257)}`,
  ])("refuses %j", (value) => expect(() => first(value)).toThrow(violation));

  it("takes y only where no channel binding was offered", () => {
    expect(first("y,,n=,r=abc").gs2Header).toBe("y,,");
    expect(() => first("y,,n=,r=abc", false, true)).toThrow(violation);
  });

  it("wants the flag to fit the mechanism, and one type of binding only", () => {
    expect(first("p=tls-server-end-point,,n=,r=abc", true, true).gs2Header).toBe("p=tls-server-end-point,,");
    for (const value of ["n,,n=,r=abc", "y,,n=,r=abc", "p=tls-unique,,n=,r=abc", "p=tls-exporter,,n=,r=abc"])
      expect(() => first(value, true, true)).toThrow(violation);
    expect(() => first("p=tls-server-end-point,,n=,r=abc", false, true)).toThrow(violation);
  });
});

describe("SCRAM client-final", () => {
  it("takes the exact nonce and the header it was opened with", () => {
    for (const header of ["n,,", "y,,"]) {
      const { server, nonce } = serverFor(header);
      expect(() => server.readClientFinal(text(`c=${toBase64(text(header))},r=${nonce},p=${proof}`))).not.toThrow();
    }
  });

  it.each<[string, (nonce: string) => string]>([
    ["the client's nonce alone", () => `c=biws,r=clientnonce,p=${proof}`],
    ["a nonce cut short", (nonce) => `c=biws,r=${nonce.slice(0, -1)},p=${proof}`],
    ["a nonce gone on", (nonce) => `c=biws,r=${nonce}A,p=${proof}`],
    ["another header", (nonce) => `c=eSws,r=${nonce},p=${proof}`],
    ["another order", (nonce) => `r=${nonce},c=biws,p=${proof}`],
    ["no binding", (nonce) => `r=${nonce},p=${proof}`],
    ["no nonce", () => `c=biws,p=${proof}`],
    ["no proof", (nonce) => `c=biws,r=${nonce}`],
    ["an empty proof", (nonce) => `c=biws,r=${nonce},p=`],
    ["two proofs", (nonce) => `c=biws,r=${nonce},p=${proof},p=${proof}`],
    ["two nonces", (nonce) => `c=biws,r=${nonce},r=${nonce},p=${proof}`],
    ["a short proof", (nonce) => `c=biws,r=${nonce},p=${Buffer.alloc(31).toString("base64")}`],
    ["a long proof", (nonce) => `c=biws,r=${nonce},p=${Buffer.alloc(33).toString("base64")}`],
    ["a proof that is no base64", (nonce) => `c=biws,r=${nonce},p=${"*".repeat(44)}`],
    ["a proof in loose base64", (nonce) => `c=biws,r=${nonce},p=${proof.slice(0, -2)}V=`],
    ["a NUL behind it", (nonce) => `c=biws,r=${nonce},p=${proof}\0`],
  ])("with %s is refused", (_, make) => {
    const { server, nonce } = serverFor();
    expect(() => server.readClientFinal(text(make(nonce)))).toThrow(violation);
  });

  it("binds to the certificate it was offered, and to no other", () => {
    const binding = Buffer.alloc(32, 9);
    const header = "p=tls-server-end-point,,";
    const { server, nonce } = serverFor(header, binding);
    const final = (bytes: Uint8Array) => text(`c=${toBase64(bytes)},r=${nonce},p=${proof}`);
    expect(() => server.readClientFinal(final(Buffer.concat([text(header), binding])))).not.toThrow();
    for (const wrong of [Buffer.concat([text(header), Buffer.alloc(32, 8)]), text(header), Buffer.concat([text("n,,"), binding]), text("n,,")]) {
      expect(() => server.readClientFinal(final(wrong))).toThrow(violation);
    }
  });

  it("survives ten thousand messages of junk without letting one in", async () => {
    const keys = await makeScramKeys(testCrypto, "secret", salt, 4096);
    const letters = "c=biws,rpn=ya+/A\0é";
    for (let seed = 0; seed < 10_000; seed++) {
      const random = new Prng(seed);
      const junk = random.chance(0.3)
        ? random.bytes(random.int(100))
        : text(Array.from({ length: random.int(60) }, () => letters[random.int(letters.length)]).join(""));
      const { server, nonce } = serverFor();
      const message = random.chance(0.5)
        ? junk
        : Buffer.concat([text(`c=biws,r=${nonce},p=`), text(Buffer.from(random.bytes(32)).toString("base64"))]);
      try {
        readClientFirst(junk, random.chance(0.5), random.chance(0.5));
      } catch (error) {
        expect(error).toEqual(violation);
      }
      try {
        expect(server.readClientFinal(message).matches(keys)).toBe(false);
      } catch (error) {
        expect(error).toEqual(violation);
      }
    }
  });
});

describe("SCRAM client against a server that lies", () => {
  it.each<[string, (nonce: string) => string]>([
    ["another nonce", () => "r=another,s=AAAA,i=4096"],
    ["the client's nonce alone", (nonce) => `r=${nonce},s=AAAA,i=4096`],
    ["a nonce that is too long", (nonce) => `r=${nonce}${"x".repeat(600)},s=AAAA,i=4096`],
    ["no salt", (nonce) => `r=${nonce}x,s=,i=4096`],
    ["a salt that is no base64", (nonce) => `r=${nonce}x,s=AAA,i=4096`],
    ["no iterations", (nonce) => `r=${nonce}x,s=AAAA,i=0`],
    ["endless iterations", (nonce) => `r=${nonce}x,s=AAAA,i=100001`],
    ["iterations that wrap", (nonce) => `r=${nonce}x,s=AAAA,i=99999999999`],
    ["nothing", () => ""],
  ])("refuses %s", async (_, make) => {
    const client = new ScramClient(testCrypto, "secret");
    await expect(client.answer(make(client.clientFirst.slice(8)))).rejects.toEqual(violation);
  });

  it.each(["", "v=", "v=AAAA", "e=other-error", `v=${"A".repeat(200)}`])("refuses %j as the server's signature", async (final) => {
    const client = new ScramClient(testCrypto, "secret");
    expect(() => client.verify(final)).toThrow(violation);
    await client.answer(`${client.clientFirst.slice(6)}x,s=AAAA,i=1`);
    expect(() => client.verify(final)).toThrow(violation);
  });
});
