/** ParameterStatus messages of a greeting, kept: nearly all clients of a server are told the same dozen. */
import { encodeParameterStatus } from "./backend.ts";

/** Reports kept; `application_name` and the like could be anything. */
const maxKept = 1000;

export class ParameterReports {
  readonly #kept = new Map<string, Map<string, Uint8Array>>();
  #count = 0;

  /** One message for each parameter, not to be changed. */
  encode(parameters: ReadonlyMap<string, string>): Uint8Array[] {
    const messages: Uint8Array[] = [];
    for (const [name, value] of parameters) messages.push(this.#kept.get(name)?.get(value) ?? this.#keep(name, value));
    return messages;
  }

  #keep(name: string, value: string): Uint8Array {
    if (this.#count === maxKept) {
      this.#kept.clear();
      this.#count = 0;
    }
    const message = encodeParameterStatus(name, value);
    const values = this.#kept.get(name) ?? new Map<string, Uint8Array>();
    this.#kept.set(name, values.set(value, message));
    this.#count++;
    return message;
  }
}
