/** A ledger: accounts, double entries that must balance, transfers that happen once, and a record of changes nobody edits. */
export const fintech = `
CREATE TYPE account_status AS ENUM ('active', 'frozen', 'closed');
CREATE TYPE transaction_status AS ENUM ('pending', 'posted', 'reversed');

CREATE TABLE accounts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_number text NOT NULL UNIQUE CHECK (account_number ~ '^[A-Z0-9]{6,34}$'),
  name text NOT NULL,
  currency char(3) NOT NULL DEFAULT 'USD' CHECK (currency = upper(currency)),
  balance numeric(18,2) NOT NULL DEFAULT 0,
  overdraft_limit numeric(18,2) NOT NULL DEFAULT 0 CHECK (overdraft_limit >= 0),
  status account_status NOT NULL DEFAULT 'active',
  opened_at timestamptz NOT NULL DEFAULT now(),
  CHECK (balance >= -overdraft_limit)
);

CREATE TABLE transactions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  idempotency_key text UNIQUE,
  type text NOT NULL CHECK (type IN ('deposit', 'withdrawal', 'transfer', 'fee', 'interest', 'reversal')),
  status transaction_status NOT NULL DEFAULT 'pending',
  description text NOT NULL DEFAULT '',
  reverses_id bigint UNIQUE REFERENCES transactions,
  created_at timestamptz NOT NULL DEFAULT now(),
  posted_at timestamptz,
  CHECK ((status = 'pending') = (posted_at IS NULL))
);
CREATE INDEX transactions_created ON transactions (created_at DESC);
CREATE INDEX transactions_pending ON transactions (created_at) WHERE status = 'pending';

CREATE TABLE entries (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  transaction_id bigint NOT NULL REFERENCES transactions,
  account_id bigint NOT NULL REFERENCES accounts,
  amount numeric(18,2) NOT NULL CHECK (amount <> 0),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN entries.amount IS 'positive: into the account; the entries of a transaction sum to zero';
CREATE INDEX entries_transaction ON entries (transaction_id);
CREATE INDEX entries_account ON entries (account_id, created_at DESC);

CREATE FUNCTION check_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  difference numeric;
BEGIN
  SELECT sum(e.amount) INTO difference FROM entries e WHERE e.transaction_id = new.transaction_id;
  IF difference <> 0 THEN
    RAISE EXCEPTION 'transaction % does not balance', new.transaction_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER entries_balanced AFTER INSERT ON entries
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_balanced();

CREATE FUNCTION apply_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE accounts SET balance = balance + new.amount WHERE id = new.account_id AND status = 'active';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'account % is not active', new.account_id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER entries_apply AFTER INSERT ON entries FOR EACH ROW EXECUTE FUNCTION apply_entry();

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of % are never changed; post a reversal', tg_table_name USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER entries_immutable BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE exchange_rates (
  base char(3) NOT NULL,
  quote char(3) NOT NULL,
  valid_from timestamptz NOT NULL,
  rate numeric(20,10) NOT NULL CHECK (rate > 0),
  PRIMARY KEY (base, quote, valid_from),
  CHECK (base <> quote)
);

CREATE TABLE audit_logs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  performed_by text NOT NULL,
  action text NOT NULL,
  entity_type text NOT NULL,
  entity_id bigint NOT NULL,
  old_values jsonb,
  new_values jsonb
);
CREATE INDEX audit_logs_entity ON audit_logs (entity_type, entity_id);
CREATE INDEX audit_logs_time ON audit_logs USING brin (at);
CREATE TRIGGER audit_logs_immutable BEFORE UPDATE OR DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION refuse_change();
`;
