/** The inside of one customer of a SaaS product: people, teams, roles, plan, work items, keys, and a record of who did what. */
export const saas = `
CREATE TYPE member_status AS ENUM ('invited', 'active', 'suspended');
CREATE TYPE task_status AS ENUM ('todo', 'doing', 'done', 'archived');

CREATE TABLE plans (
  code text PRIMARY KEY,
  name text NOT NULL,
  monthly_price numeric(10,2) NOT NULL CHECK (monthly_price >= 0),
  max_members integer CHECK (max_members > 0),
  features jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE plans IS 'reference data: mark it deploy_data and its rows travel to every tenant';

CREATE TABLE roles (
  code text PRIMARY KEY,
  name text NOT NULL,
  permissions text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE subscriptions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  plan_code text NOT NULL REFERENCES plans,
  started_at timestamptz NOT NULL DEFAULT now(),
  ended_at timestamptz,
  CHECK (ended_at > started_at)
);
CREATE UNIQUE INDEX subscriptions_current ON subscriptions ((true)) WHERE ended_at IS NULL;

CREATE TABLE members (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL CHECK (email LIKE '%_@_%'),
  name text NOT NULL DEFAULT '',
  status member_status NOT NULL DEFAULT 'invited',
  role_code text NOT NULL REFERENCES roles,
  last_seen_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX members_email ON members (lower(email));
CREATE INDEX members_role ON members (role_code);

CREATE TABLE teams (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE team_members (
  team_id bigint NOT NULL REFERENCES teams ON DELETE CASCADE,
  member_id bigint NOT NULL REFERENCES members ON DELETE CASCADE,
  is_lead boolean NOT NULL DEFAULT false,
  PRIMARY KEY (team_id, member_id)
);
CREATE INDEX team_members_member ON team_members (member_id);

CREATE TABLE projects (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  team_id bigint REFERENCES teams ON DELETE SET NULL,
  name text NOT NULL,
  archived_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX projects_team ON projects (team_id) WHERE archived_at IS NULL;

CREATE TABLE tasks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
  assignee_id bigint REFERENCES members ON DELETE SET NULL,
  title text NOT NULL CHECK (title <> ''),
  body text NOT NULL DEFAULT '',
  status task_status NOT NULL DEFAULT 'todo',
  due_on date,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tasks_project ON tasks (project_id, status);
CREATE INDEX tasks_assignee ON tasks (assignee_id, due_on) WHERE status IN ('todo', 'doing');

CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  new.updated_at := now();
  RETURN new;
END $$;
CREATE TRIGGER tasks_touch BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch_updated_at();

CREATE TABLE comments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task_id bigint NOT NULL REFERENCES tasks ON DELETE CASCADE,
  author_id bigint REFERENCES members ON DELETE SET NULL,
  body text NOT NULL CHECK (body <> ''),
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX comments_task ON comments (task_id, created_at);

CREATE TABLE integration_keys (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  member_id bigint NOT NULL REFERENCES members ON DELETE CASCADE,
  name text NOT NULL,
  key_hash bytea NOT NULL UNIQUE,
  expires_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX integration_keys_member ON integration_keys (member_id);

CREATE TABLE activity (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  member_id bigint REFERENCES members ON DELETE SET NULL,
  action text NOT NULL,
  subject_type text NOT NULL,
  subject_id bigint,
  details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX activity_time ON activity USING brin (at);
CREATE INDEX activity_subject ON activity (subject_type, subject_id);
`;
