/** Clients that have not logged in yet, and which of them goes where there are too many: the slowest of the address that has most of them. */

/** In the order they came. */
export class Newcomers<Client> {
  readonly #all = new Set<Client>();
  readonly #groupOf = new Map<Client, string>();
  /** By address; every group has at least one. */
  readonly #groups = new Map<string, Set<Client>>();
  /** Groups by how many they have, so that the largest is found in one step however many there are. */
  readonly #bySize = new Map<number, Set<Set<Client>>>();
  #largest = 0;

  get size(): number {
    return this.#all.size;
  }

  /** @param address counted key of its address; undefined where no limit applies to that. */
  add(client: Client, address: string | undefined): void {
    this.#all.add(client);
    if (address === undefined) return;
    this.#groupOf.set(client, address);
    let group = this.#groups.get(address);
    if (!group) {
      group = new Set();
      this.#groups.set(address, group);
    }
    this.#file(group, group.size, group.size + 1);
    group.add(client);
    this.#largest = Math.max(this.#largest, group.size);
  }

  remove(client: Client): void {
    if (!this.#all.delete(client)) return;
    const address = this.#groupOf.get(client);
    const group = address === undefined ? undefined : this.#groups.get(address);
    if (!group || address === undefined) return;
    this.#groupOf.delete(client);
    this.#file(group, group.size, group.size - 1);
    group.delete(client);
    if (group.size === 0) this.#groups.delete(address);
    if (!this.#bySize.has(this.#largest)) this.#largest--; // it shrank by one, and was the last of its size
  }

  /** Where no address has more than one, the slowest of all. */
  get next(): Client | undefined {
    const [group] = this.#largest > 1 ? (this.#bySize.get(this.#largest) ?? []) : [];
    const [slowest] = group ?? this.#all;
    return slowest;
  }

  #file(group: Set<Client>, from: number, to: number): void {
    const before = this.#bySize.get(from);
    before?.delete(group);
    if (before?.size === 0) this.#bySize.delete(from);
    if (to === 0) return;
    const after = this.#bySize.get(to);
    if (after) after.add(group);
    else this.#bySize.set(to, new Set([group]));
  }
}
