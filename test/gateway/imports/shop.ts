/** A shared database as products grow them: a registry, tables with the field, tables without, trees, rings, composite keys, look-ups. */

const types = "CREATE TYPE mood AS ENUM ('glad', 'sad');";
const customer = `name text NOT NULL, country char(2) REFERENCES countries, invited_by int REFERENCES customers, mood mood, photo bytea,
  seen timestamptz, tags text[], doc jsonb, shout text GENERATED ALWAYS AS (upper(name)) STORED`;
const withoutField = `
CREATE TABLE baskets (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id int NOT NULL REFERENCES customers);
CREATE TABLE basket_items (basket_id bigint NOT NULL REFERENCES baskets, line int NOT NULL, what text, PRIMARY KEY (basket_id, line));
CREATE TABLE item_notes (basket_id bigint NOT NULL, line int NOT NULL, note text, FOREIGN KEY (basket_id, line) REFERENCES basket_items);
CREATE TABLE threads (id int PRIMARY KEY, customer_id int REFERENCES customers, reply_to int REFERENCES threads, body text);
CREATE TABLE members (id int PRIMARY KEY, team_id int NOT NULL REFERENCES teams);
ALTER TABLE teams ADD FOREIGN KEY (lead_id) REFERENCES members DEFERRABLE;
`;

export const sharedSchema = `${types}
CREATE TABLE tenants (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL);
CREATE TABLE customers (id serial PRIMARY KEY, tenant_id text REFERENCES tenants, ${customer});
CREATE INDEX customers_tenant ON customers (tenant_id, id);
CREATE TABLE orders (
  tenant_id text NOT NULL REFERENCES tenants, number int NOT NULL, customer_id int NOT NULL REFERENCES customers, total numeric(12,2) NOT NULL,
  PRIMARY KEY (tenant_id, number)
);
CREATE TABLE teams (id int PRIMARY KEY, tenant_id text NOT NULL, lead_id int);
${withoutField}`;

/** The same without the routing field, as a blueprint has it; with a trigger that would spoil what it sees. */
export const tenantSchema = `${types}
CREATE TABLE tenants (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL);
CREATE TABLE customers (id serial PRIMARY KEY, ${customer});
COMMENT ON CONSTRAINT customers_country_fkey ON customers IS 'ISO 3166';
CREATE TABLE orders (number int PRIMARY KEY, customer_id int NOT NULL REFERENCES customers, total numeric(12,2) NOT NULL);
CREATE TABLE teams (id int PRIMARY KEY, lead_id int);
${withoutField}
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.what := 'spoilt by a trigger'; RETURN NEW; END $$;
CREATE TRIGGER spoil BEFORE INSERT ON basket_items FOR EACH ROW EXECUTE FUNCTION spoil();
`;

/** Rows for each of `tenants`, in turn; ids run across them all. */
export function fillShop(tenants: readonly string[], customersEach: number): string {
  const n = tenants.length;
  const quoted = tenants.map((id) => `'${id.replaceAll("'", "''")}'`);
  const pick = (index: string) => `(ARRAY[${quoted.join(", ")}])[${index}]`;
  return `
INSERT INTO tenants SELECT t, 'name of ' || t FROM unnest(ARRAY[${quoted.join(", ")}]) t;
INSERT INTO countries VALUES ('de', 'Germany'), ('nz', 'New Zealand');
INSERT INTO customers (tenant_id, name, country, invited_by, mood, photo, seen, tags, doc)
  SELECT ${pick(`1 + i % ${n}`)}, E'customer\\t' || i || E'\\n\\\\N', CASE i % 3 WHEN 0 THEN 'de' WHEN 1 THEN 'nz' END,
         CASE WHEN i >= ${n} THEN i - ${n} + 1 END, CASE i % 2 WHEN 0 THEN 'glad'::mood END, decode(md5(i::text), 'hex'),
         timestamptz '2026-01-01 00:00:00.123456+00' + i * interval '1 minute', ARRAY['a,b', NULL, i::text], jsonb_build_object('i', i, 'ö', 'ü')
    FROM generate_series(0, ${n * customersEach - 1}) i;
INSERT INTO orders SELECT tenant_id, id, id, id * 1.5 FROM customers;
INSERT INTO baskets (customer_id) SELECT id FROM customers ORDER BY id;
INSERT INTO basket_items SELECT b.id, l, 'thing ' || l FROM baskets b, generate_series(1, 2) l;
INSERT INTO item_notes SELECT basket_id, line, 'note' FROM basket_items WHERE line = 2;
INSERT INTO threads SELECT id, id, NULL, 'start' FROM customers;
INSERT INTO threads SELECT id + 100000, NULL, id, 'reply' FROM customers;
INSERT INTO threads SELECT id + 200000, NULL, id + 100000, 'reply to the reply' FROM customers;
INSERT INTO teams SELECT i, ${pick("i")}, NULL FROM generate_series(1, ${n}) i;
INSERT INTO members SELECT i, i FROM generate_series(1, ${n}) i;
UPDATE teams SET lead_id = id;
ANALYZE;
`;
}
