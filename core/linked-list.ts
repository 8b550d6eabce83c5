/** A list whose nodes are kept by their owners: joining at the end and leaving from anywhere each take one step. */

/** A place in at most one list at a time. */
export class ListNode<T> {
  readonly value: T;
  previous: ListNode<T> | undefined = undefined;
  next: ListNode<T> | undefined = undefined;
  list: LinkedList<T> | undefined = undefined;

  constructor(value: T) {
    this.value = value;
  }
}

export class LinkedList<T> implements Iterable<T> {
  #first: ListNode<T> | undefined;
  #last: ListNode<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | undefined {
    return this.#first?.value;
  }

  get last(): T | undefined {
    return this.#last?.value;
  }

  /** `node` must be in no list. */
  push(node: ListNode<T>): void {
    node.list = this;
    node.previous = this.#last;
    if (this.#last) this.#last.next = node;
    else this.#first = node;
    this.#last = node;
    this.#size++;
  }

  /** @returns false when it is not in this list. */
  remove(node: ListNode<T>): boolean {
    if (node.list !== this) return false;
    if (node.previous) node.previous.next = node.next;
    else this.#first = node.next;
    if (node.next) node.next.previous = node.previous;
    else this.#last = node.previous;
    node.list = node.previous = node.next = undefined;
    this.#size--;
    return true;
  }

  /** First to last. The node just visited may be removed meanwhile, no other. */
  *[Symbol.iterator](): Iterator<T> {
    for (let node = this.#first; node; ) {
      const { next, value } = node;
      yield value;
      node = next;
    }
  }
}
