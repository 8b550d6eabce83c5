/** The gateway's management API, as far as the benchmark needs it. */

export interface Api {
  readonly url: string;
  readonly key: string;
}

/** @throws Error with the API's own words unless it answers 2xx. */
export async function callApi<T>(api: Api, method: "GET" | "POST" | "PATCH", path: string, body?: unknown): Promise<T> {
  const response = await fetch(`${api.url}${path}`, {
    method,
    headers: { Authorization: `Bearer ${api.key}`, "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
  return JSON.parse(text) as T;
}
