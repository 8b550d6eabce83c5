/** Requests per address: a second's allowance, and a ban for those who keep going over it. */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";

export interface RateLimits {
  /** 0 switches rate limiting off. */
  readonly requestsPerS: number;
  /** Seconds over the allowance, within `windowS`, that lead to a ban. */
  readonly violations: number;
  readonly windowS: number;
  readonly banS: number;
  /** Failed log-ins of one address within `windowS`. */
  readonly failedLogins: number;
}

export const defaultRateLimits: RateLimits = { requestsPerS: 100, violations: 5, windowS: 60, banS: 300, failedLogins: 10 };

export interface RateLimiter {
  /** @returns seconds to wait, or undefined when the request may pass. */
  takeRequest(address: string): Promise<number | undefined>;
  /** @returns seconds to wait before another log-in may be tried, or undefined. */
  loginWait(address: string): Promise<number | undefined>;
  countFailedLogin(address: string): Promise<void>;
}

const unlimited: RateLimiter = {
  takeRequest: async () => undefined,
  loginWait: async () => undefined,
  countFailedLogin: async () => {},
};

/** Counts in this process. A second in which the allowance was exceeded is one violation, however many requests it held. */
export function makeRateLimiter(limits: RateLimits): RateLimiter {
  if (limits.requestsPerS <= 0) return unlimited;
  const requests = new RateLimiterMemory({ keyPrefix: "req", points: limits.requestsPerS, duration: 1 });
  const violations = new RateLimiterMemory({ keyPrefix: "over", points: limits.violations - 1, duration: limits.windowS });
  const bans = new RateLimiterMemory({ keyPrefix: "ban", points: 1, duration: limits.banS });
  const logins = new RateLimiterMemory({ keyPrefix: "login", points: limits.failedLogins, duration: limits.windowS });

  return {
    async takeRequest(address) {
      const key = rateKey(address);
      const ban = await bans.get(key);
      if (ban && ban.msBeforeNext > 0) return seconds(ban);
      const over = await refusal(requests.consume(key));
      if (!over) return undefined;
      if (over.consumedPoints > limits.requestsPerS + 1) return seconds(over);
      if (!(await refusal(violations.consume(key)))) return seconds(over);
      await violations.delete(key);
      return seconds(await bans.block(key, limits.banS));
    },
    async loginWait(address) {
      const state = await logins.get(rateKey(address));
      return state && state.msBeforeNext > 0 && state.consumedPoints >= limits.failedLogins ? seconds(state) : undefined;
    },
    async countFailedLogin(address) {
      await logins.penalty(rateKey(address));
    },
  };
}

/** The library rejects with its result when the allowance is used up, with an Error when it failed. */
async function refusal(attempt: Promise<RateLimiterRes>): Promise<RateLimiterRes | undefined> {
  try {
    await attempt;
    return undefined;
  } catch (reason) {
    if (reason instanceof RateLimiterRes) return reason;
    throw reason;
  }
}

function seconds(state: RateLimiterRes): number {
  return Math.max(1, Math.ceil(state.msBeforeNext / 1000));
}

/** One key per IPv4 address, one per IPv6 /64; an IPv4 address written as IPv6 is the IPv4 address. */
export function rateKey(address: string): string {
  const plain = address.toLowerCase().replace(/%.*$/, "");
  const mapped = /^(?:0{0,4}:){2,5}ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain);
  if (mapped) return mapped[1]!;
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = !tail ? [] : tail.split(":");
  const fill = tail === undefined ? [] : Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => "0");
  return [...left, ...fill, ...right]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":");
}
