/** The three functions of the Reflect metadata proposal that @peculiar/x509's container looks for at import: this module has to have run before. */

interface ReflectMetadata {
  getMetadata?(key: unknown, target: object): unknown;
  getOwnMetadata?(key: unknown, target: object): unknown;
  defineMetadata?(key: unknown, value: unknown, target: object): void;
}

const reflect = Reflect as ReflectMetadata;

if (!reflect.getMetadata) {
  const metadata = new WeakMap<object, Map<unknown, unknown>>();
  const getOwn = (key: unknown, target: object) => metadata.get(target)?.get(key);
  reflect.getOwnMetadata = getOwn;
  reflect.getMetadata = (key, target) => {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
      if (metadata.get(at)?.has(key)) return getOwn(key, at);
    }
    return undefined;
  };
  reflect.defineMetadata = (key, value, target) => {
    const own = metadata.get(target) ?? new Map<unknown, unknown>();
    metadata.set(target, own.set(key, value));
  };
}

export {};
