/** A query log in memory: one statement, and what it was asked for. */
import type { HistoryOwner, HistoryPage, HistoryRange, QueryHistory } from "../../../core/query-history.ts";
import { emptyUsage } from "../../../core/query-log.ts";

export class FakeHistory implements QueryHistory {
  readonly usageIntervalS = 300;
  readonly asked: { owner: HistoryOwner; range: HistoryRange }[] = [];

  async listStatements(owner: HistoryOwner, page: HistoryPage) {
    this.asked.push({ owner, range: page });
    const entry = {
      id: 1,
      at: Date.UTC(2026, 0, 15),
      workspaceId: "ws_1",
      credentialId: "key_00000001",
      address: "192.0.2.17",
      sessionId: "9f2c41d07ab3",
      via: "wire" as const,
      transactionId: "9f2c41d07ab3.1",
      durationMs: 2.5,
      rows: 1,
      bytesReceived: 20,
      bytesSent: 40,
      sqlstate: undefined,
      isSlow: false,
      statement: "SELECT ?",
      isCut: false,
      fingerprint: "00112233445566aa",
    };
    return { items: [entry], nextCursor: undefined };
  }

  async summarize(owner: HistoryOwner, range: HistoryRange) {
    this.asked.push({ owner, range });
    return { top: [], errors: [], dropped: 0 };
  }

  async listUsage(owner: HistoryOwner, range: HistoryRange) {
    this.asked.push({ owner, range });
    return [{ ...emptyUsage(), at: Date.UTC(2026, 0, 15) }];
  }
}
