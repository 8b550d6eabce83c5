/** The WebAssembly factory inside libpg-query, which the package ships without types. */
declare module "libpg-query/wasm/libpg-query.js" {
  export interface PgQueryModule {
    _malloc(bytes: number): number;
    _free(pointer: number): void;
    lengthBytesUTF8(text: string): number;
    stringToUTF8(text: string, pointer: number, bytes: number): void;
    UTF8ToString(pointer: number): string;
    getValue(pointer: number, type: "i32"): number;
    /** @returns a struct of tree, stderr and error pointers; to be freed. */
    _wasm_parse_query_raw(pointer: number): number;
    _wasm_free_parse_result(pointer: number): void;
    /** @returns JSON text, or an error's message; to be freed. */
    _wasm_scan(pointer: number): number;
    _wasm_free_string(pointer: number): void;
  }
  export default function createModule(): Promise<PgQueryModule>;
}
