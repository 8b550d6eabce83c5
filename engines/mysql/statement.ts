/** Reads the few statements that are answered here: what drivers and tools send as they start, and SHOW DATABASES. */

/** An expression of a SELECT list without tables. */
export type Expression =
  | { readonly type: "literal"; readonly value: string | number | null }
  | { readonly type: "variable"; readonly name: string }
  | { readonly type: "function"; readonly name: "version" | "database" | "user" | "connection_id" };

export type Statement =
  | { readonly type: "select"; readonly columns: readonly { readonly name: string; readonly expression: Expression }[] }
  | { readonly type: "use"; readonly database: string }
  /** `like` is a LIKE pattern, `column` what databases are to be headed with. */
  | { readonly type: "show"; readonly what: "databases" | "variables" | "nothing"; readonly like: string | undefined; readonly column?: string }
  /** Changes nothing that is kept here, and may be said to have worked. */
  | { readonly type: "accepted" }
  | { readonly type: "empty" }
  /** Everything else, which would need a database. */
  | { readonly type: "other" };

/** Statements beyond this are none of those that are answered. */
const maxLength = 8192;

export function readStatement(sql: string): Statement {
  if (sql.length > maxLength) return { type: "other" };
  const text = trim(sql);
  if (text === "") return { type: "empty" };
  const [, word = "", rest = ""] = /^([a-z]+)\s*([\s\S]*)$/i.exec(text) ?? [];
  switch (word.toLowerCase()) {
    case "select":
      return readSelect(rest);
    case "use":
      return { type: "use", database: unquote(rest) };
    case "show":
      return readShow(rest);
    case "set":
    case "begin":
    case "start":
    case "commit":
    case "rollback":
      return { type: "accepted" };
    default:
      return { type: "other" };
  }
}

/** Comments in front and white space and semicolons behind taken off. */
function trim(sql: string): string {
  let text = sql.trim();
  for (;;) {
    const end = commentEnd(text);
    if (end === undefined) break;
    text = text.slice(end).trimStart();
  }
  let length = text.length;
  while (length > 0 && /[\s;]/.test(text[length - 1]!)) length--;
  return text.slice(0, length);
}

/** Where the comment ends that the text starts with. */
function commentEnd(text: string): number | undefined {
  if (text.startsWith("/*")) return text.includes("*/") ? text.indexOf("*/") + 2 : undefined;
  if (!text.startsWith("#") && !/^--(\s|$)/.test(text)) return undefined;
  return text.includes("\n") ? text.indexOf("\n") + 1 : text.length;
}

function readShow(rest: string): Statement {
  const [, subject = "", like] = /^((?:full |global |session )?[a-z ]+?)(?:\s+(?:like\s+('[^']*'|"[^"]*")|where\b[\s\S]*))?$/i.exec(rest) ?? [];
  const pattern = like === undefined ? undefined : unquote(like);
  switch (subject.toLowerCase().replace(/^(full|global|session) /, "")) {
    case "databases":
    case "schemas":
      return { type: "show", what: "databases", like: pattern };
    case "variables":
      return { type: "show", what: "variables", like: pattern };
    case "status":
    case "warnings":
    case "errors":
    case "plugins":
      return { type: "show", what: "nothing", like: pattern };
    default:
      return { type: "other" };
  }
}

/** How JDBC lists databases. */
const schemataForm =
  /^schema_name(?:\s+as\s+(\w+))?\s+from\s+information_schema\.schemata(?:\s+where\s+schema_name\s+like\s+('[^']*'))?(?:\s+order\s+by\s+\w+)?$/i;

function readSelect(rest: string): Statement {
  const schemata = schemataForm.exec(rest);
  if (schemata) {
    const [, column = "SCHEMA_NAME", like] = schemata;
    return { type: "show", what: "databases", like: like === undefined ? undefined : unquote(like), column };
  }
  const columns = [];
  for (const item of splitList(rest.replace(/\s+limit\s+\d+$/i, ""))) {
    const column = readColumn(item.trim());
    if (!column) return { type: "other" };
    columns.push(column);
  }
  return { type: "select", columns };
}

/** Cut at commas outside quotes. */
function splitList(list: string): string[] {
  const items: string[] = [];
  let quote = "";
  let start = 0;
  for (let at = 0; at < list.length; at++) {
    const char = list[at]!;
    if (quote !== "") quote = char === quote ? "" : quote;
    else if (char === "'" || char === '"' || char === "`") quote = char;
    else if (char === ",") {
      items.push(list.slice(start, at));
      start = at + 1;
    }
  }
  items.push(list.slice(start));
  return items;
}

const columnForm = /^('[^']*'|"[^"]*"|@@[\w.]+|\w+(?:\s*\(\s*\))?)(?:\s+(?:as\s+)?('[^']*'|"[^"]*"|`[^`]*`|\w+))?$/i;

function readColumn(item: string): { name: string; expression: Expression } | undefined {
  const [, text = "", alias] = columnForm.exec(item) ?? [];
  const expression = readExpression(text);
  if (!expression) return undefined;
  const name = alias !== undefined ? unquote(alias) : expression.type === "literal" ? unquote(text) : text;
  return { name, expression };
}

function readExpression(text: string): Expression | undefined {
  if (/^\d{1,15}$/.test(text)) return { type: "literal", value: Number(text) };
  if (/^['"]/.test(text)) return { type: "literal", value: unquote(text) };
  if (/^null$/i.test(text)) return { type: "literal", value: null };
  if (text.startsWith("@@")) return { type: "variable", name: text.replace(/^@@(?:(?:session|global|local)\.)?/i, "") };
  switch (text.toLowerCase().replaceAll(/\s/g, "")) {
    case "version()":
      return { type: "function", name: "version" };
    case "database()":
    case "schema()":
      return { type: "function", name: "database" };
    case "user()":
    case "session_user()":
    case "system_user()":
    case "current_user()":
    case "current_user":
      return { type: "function", name: "user" };
    case "connection_id()":
      return { type: "function", name: "connection_id" };
    default:
      return undefined;
  }
}

function unquote(text: string): string {
  return /^(['"`])[\s\S]*\1$/.test(text) && text.length > 1 ? text.slice(1, -1) : text;
}

/** `%` is any text, `_` any character, case does not count; matched without regular expressions, whose time patterns could choose. */
export function matchesLike(pattern: string, text: string): boolean {
  const wanted = pattern.toLowerCase().replaceAll("\\_", "\u0001");
  const given = text.toLowerCase();
  let reachable = new Set([0]);
  for (const char of wanted) {
    const next = new Set<number>();
    for (const at of reachable) {
      if (char === "%") for (let to = at; to <= given.length; to++) next.add(to);
      else if (at < given.length && (char === "_" || given[at] === (char === "\u0001" ? "_" : char))) next.add(at + 1);
    }
    reachable = next;
  }
  return reachable.has(given.length);
}
