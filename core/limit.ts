/** Who may come in: connections and connect rate per address, bans, and the places for clients that have not logged in yet. */
import type { BanTracker } from "./ban.ts";
import type { BytePipe } from "./byte-pipe.ts";
import type { Clock } from "./clock.ts";
import { GatewayError } from "./errors.ts";
import { PlainOnlyPipe, ReplyBudget } from "./reply-budget.ts";
import type { SharedAnswer, SharedCounts } from "./shared-counts.ts";

export interface AddressLimits {
  readonly maxConnections: number;
  /** New connections per second, and how many may come at once. */
  readonly connectRate: number;
  readonly connectBurst: number;
  /** CIDRs that no limit applies to. */
  readonly exempt: readonly string[];
  /** Refused connections of one address that get a TLS handshake to be told in, each minute. Default 300. */
  readonly repliesPerMin?: number;
}

/** Who decides about new connections. */
export interface Gate {
  /** Counts a connection in. Always to be released. */
  admit(address: string): Admission;
  /** Counts a cancel request with a wrong key. @returns false when there were too many of them within a second. */
  allowWrongCancel(admission: Admission): boolean | Promise<boolean>;
}

/** The answer to a new connection. A refusal is told after the start-up packet, so that drivers show it. */
export interface Admission {
  readonly refusal: GatewayError | undefined;
  /** What the instances together say to one admitted here; undefined where each counts for itself, so that nothing is waited for. */
  readonly shared: Promise<GatewayError | undefined> | undefined;
  /** Counted key of the address: IPv6 by /64. */
  readonly addressKey: string;
  readonly exempt: boolean;
  /** False for one refused too often: it gets no TLS handshake any more. */
  readonly isTold: boolean;
  /** The connection as it is to be served. */
  pipe(socket: BytePipe): BytePipe;
  /** It was no login: it does not count against the connect rate. */
  refund(): void;
  release(): void;
}

/** Cancel requests with a wrong key from one address that are looked at in a second. */
const wrongCancelsPerS = 10;
/** Addresses of which anything is kept, those with open connections apart. */
const maxAddresses = 100_000;
const defaultRepliesPerMin = 300;
const nothing = () => undefined;
const itself = (socket: BytePipe) => socket;

/** Of an address that no limit applies to. */
export function admitExempt(addressKey: string): Admission {
  return { refusal: undefined, shared: undefined, addressKey, exempt: true, isTold: true, pipe: itself, refund: nothing, release: nothing };
}

interface AddressState {
  connections: number;
  tokens: number;
  refilledMs: number;
  /** In the second that began at `cancelsSinceMs`. */
  wrongCancels: number;
  cancelsSinceMs: number;
}

export class AddressGate implements Gate {
  readonly #clock: Clock;
  readonly #bans: BanTracker;
  readonly #shared: SharedCounts | undefined;
  #limits: AddressLimits;
  #exempt: (address: string) => boolean;
  readonly #states = new Map<string, AddressState>();
  #roomFor = maxAddresses;
  readonly #replies: ReplyBudget;
  readonly #stop: () => void;

  constructor(clock: Clock, bans: BanTracker, limits: AddressLimits, shared?: SharedCounts) {
    this.#clock = clock;
    this.#shared = shared;
    this.#bans = bans;
    this.#limits = limits;
    this.#exempt = matchCidrs(limits.exempt);
    this.#replies = new ReplyBudget(clock, limits.repliesPerMin ?? defaultRepliesPerMin);
    this.#stop = clock.every(10_000, () => this.#forgetIdle());
  }

  admit(address: string): Admission {
    const addressKey = limitKey(address);
    if (address === "" || this.#exempt(address)) return admitExempt(addressKey);
    const state = this.#state(addressKey);
    const refusal = this.#check(addressKey, state);
    state.connections++;
    const shared = refusal ? undefined : this.#shared?.admit(addressKey, state.connections).then((answer) => this.#judge(addressKey, answer));
    const isTold = !refusal || this.#replies.take(addressKey);
    let released = false;
    return {
      refusal,
      shared,
      addressKey,
      exempt: false,
      isTold,
      pipe: isTold ? itself : (socket) => new PlainOnlyPipe(socket, this.#replies),
      refund: () => {
        if (refusal) return;
        state.tokens = Math.min(this.#limits.connectBurst, state.tokens + 1);
        this.#shared?.refund(addressKey);
      },
      release: () => {
        if (released) return;
        released = true;
        state.connections--;
        this.#shared?.released(addressKey, state.connections);
      },
    };
  }

  /** Addresses of which anything is kept. */
  get size(): number {
    return this.#states.size;
  }

  allowWrongCancel(admission: Admission): boolean {
    if (admission.exempt) return true;
    const state = this.#state(admission.addressKey);
    const now = this.#clock.nowMs();
    if (now - state.cancelsSinceMs >= 1000) {
      state.cancelsSinceMs = now;
      state.wrongCancels = 0;
    }
    return ++state.wrongCancels <= wrongCancelsPerS;
  }

  /** @throws RangeError for a CIDR that is none; the limits before stay in force. */
  reload(limits: AddressLimits): void {
    this.#exempt = matchCidrs(limits.exempt);
    this.#limits = limits;
    this.#replies.reload(limits.repliesPerMin ?? defaultRepliesPerMin);
  }

  stop(): void {
    this.#stop();
  }

  #check(key: string, state: AddressState): GatewayError | undefined {
    const banned = this.#bans.secondsLeft(key);
    if (banned > 0) return bannedError(banned);
    const { maxConnections, connectRate, connectBurst } = this.#limits;
    if (state.connections >= maxConnections) return connectionsError(maxConnections);
    const now = this.#clock.nowMs();
    state.tokens = Math.min(connectBurst, state.tokens + ((now - state.refilledMs) / 1000) * connectRate);
    state.refilledMs = now;
    if (state.tokens < 1) return rateError(Math.max(1, Math.ceil((1 - state.tokens) / connectRate)));
    state.tokens -= 1;
    return undefined;
  }

  #judge(key: string, answer: SharedAnswer | undefined): GatewayError | undefined {
    if (!answer) return undefined;
    if (answer.bannedS > 0) {
      this.#bans.impose(key, answer.bannedS); // from now on it is refused without asking
      return bannedError(answer.bannedS);
    }
    if (answer.connections > this.#limits.maxConnections) return connectionsError(this.#limits.maxConnections);
    return answer.waitS > 0 ? rateError(answer.waitS) : undefined;
  }

  #state(key: string): AddressState {
    let state = this.#states.get(key);
    if (!state) {
      if (this.#states.size >= this.#roomFor) this.#makeRoom();
      state = { connections: 0, tokens: this.#limits.connectBurst, refilledMs: this.#clock.nowMs(), wrongCancels: 0, cancelsSinceMs: 0 };
      this.#states.set(key, state);
    }
    return state;
  }

  /** Makes room by half at a time, which costs each newcomer little: the oldest that have nothing open. They get a full bucket when they come again. */
  #makeRoom(): void {
    const enough = this.#states.size - maxAddresses / 2;
    let gone = 0;
    for (const [key, state] of this.#states) {
      if (gone >= enough) break;
      if (state.connections > 0) continue;
      this.#states.delete(key);
      gone++;
    }
    this.#roomFor = Math.max(maxAddresses, this.#states.size * 2);
  }

  /** An address with no connections and a full bucket again is like one never seen. */
  #forgetIdle(): void {
    const full = this.#clock.nowMs() - (this.#limits.connectBurst / this.#limits.connectRate) * 1000;
    for (const [key, state] of this.#states) if (state.connections === 0 && state.refilledMs < full) this.#states.delete(key);
  }
}

function bannedError(seconds: number): GatewayError {
  return new GatewayError(
    "ip_banned",
    `connection rejected: your IP is temporarily rate-limited after repeated failed auth attempts, retry in ${seconds}s`,
    { retryAfterS: seconds },
  );
}

function connectionsError(limit: number): GatewayError {
  return new GatewayError("ip_connections", `connection rejected: too many connections from your IP (limit ${limit})`);
}

function rateError(seconds: number): GatewayError {
  return new GatewayError("ip_rate", `connection rejected: your IP is connecting too fast, retry in ${seconds}s`, { retryAfterS: seconds });
}

/** What limits and bans count by: the address, or the /64 of an IPv6 one. */
export function limitKey(address: string): string {
  if (!address.includes(":")) return address;
  const groups = expandIpv6(address);
  return groups ? `${groups.slice(0, 4).join(":")}::/64` : address;
}

/** Eight groups of lower-case hex without leading zeros; undefined when it is no IPv6 address. */
export function expandIpv6(address: string): string[] | undefined {
  const [head = "", tail, more] = address.toLowerCase().split("::");
  if (more !== undefined) return undefined;
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const missing = 8 - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...left, ...new Array<string>(tail === undefined ? 0 : missing).fill("0"), ...right];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16).toString(16));
}

/** True for 127.0.0.0/8, ::1 and Unix sockets: plaintext never leaves this machine. */
export function isLoopback(address: string): boolean {
  return address === "" || /^127(\.\d{1,3}){3}$/.test(address) || expandIpv6(address)?.join(":") === "0:0:0:0:0:0:0:1";
}

/** A test of addresses against CIDRs. @throws RangeError naming the first that is none. */
export function matchCidrs(cidrs: readonly string[]): (address: string) => boolean {
  const nets = cidrs.map((cidr) => {
    const [, base = "", bitsText] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(cidr) ?? [];
    const bits = addressBits(base);
    const prefix = bitsText === undefined ? bits?.length : Number(bitsText);
    if (!bits || prefix === undefined || prefix > bits.length) throw new RangeError(`"${cidr}" is not a CIDR`);
    return { length: bits.length, prefix: bits.slice(0, prefix) };
  });
  if (nets.length === 0) return () => false;
  return (address) => {
    const bits = addressBits(address);
    return bits !== undefined && nets.some((net) => net.length === bits.length && bits.startsWith(net.prefix));
  };
}

function addressBits(address: string): string | undefined {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address);
  if (v4) {
    const bytes = v4.slice(1).map(Number);
    return bytes.every((byte) => byte < 256) ? bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("") : undefined;
  }
  return expandIpv6(address)
    ?.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0"))
    .join("");
}
