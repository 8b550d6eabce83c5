/** What must happen in Redis in one step, as Lua. For a single server: the scripts read keys that are not declared. */
import type { Redis } from "ioredis";

export interface ScriptedRedis extends Redis {
  /** Bans an address, for twice as long as last time within an hour, unless it is banned. @returns milliseconds left. */
  tenantryBan(banKey: string, historyKey: string, banMs: number, maxBanMs: number): Promise<number>;
  /** Sets how many connections an instance has of an address. @returns those of all instances that are alive. */
  tenantryOpen(key: string, instance: string, open: number, instancePrefix: string): Promise<number>;
}

const ban = `
local left = redis.call('pttl', KEYS[1])
if left > 0 then return left end
local bans = redis.call('incr', KEYS[2])
redis.call('pexpire', KEYS[2], 3600000)
local ms = math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) * 2 ^ math.min(bans - 1, 30))
redis.call('set', KEYS[1], bans, 'PX', string.format('%.0f', ms))
return ms
`;

const open = `
if ARGV[2] == '0' then
  redis.call('hdel', KEYS[1], ARGV[1])
else
  redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
  redis.call('expire', KEYS[1], 3600)
end
local total = 0
local counts = redis.call('hgetall', KEYS[1])
for i = 1, #counts, 2 do
  if counts[i] == ARGV[1] or redis.call('exists', ARGV[3] .. counts[i]) == 1 then
    total = total + tonumber(counts[i + 1])
  else
    redis.call('hdel', KEYS[1], counts[i])
  end
end
return total
`;

export function addScripts(redis: Redis): ScriptedRedis {
  redis.defineCommand("tenantryBan", { numberOfKeys: 2, lua: ban });
  redis.defineCommand("tenantryOpen", { numberOfKeys: 1, lua: open });
  return redis as ScriptedRedis;
}
