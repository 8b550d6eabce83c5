/** Devices and what they measure: readings partitioned by time, alerts, and rules that raise them. */
export const iot = `
CREATE TYPE device_status AS ENUM ('provisioned', 'online', 'offline', 'retired');
CREATE TYPE alert_severity AS ENUM ('info', 'warning', 'critical');

CREATE TABLE sites (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  time_zone text NOT NULL DEFAULT 'UTC',
  latitude double precision CHECK (latitude BETWEEN -90 AND 90),
  longitude double precision CHECK (longitude BETWEEN -180 AND 180)
);

CREATE TABLE devices (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  device_id text NOT NULL UNIQUE,
  site_id bigint REFERENCES sites ON DELETE SET NULL,
  name text NOT NULL DEFAULT '',
  model text NOT NULL DEFAULT '',
  firmware text,
  status device_status NOT NULL DEFAULT 'provisioned',
  last_seen_at timestamptz,
  metadata jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX devices_site ON devices (site_id);
CREATE INDEX devices_silent ON devices (last_seen_at) WHERE status = 'online';
CREATE INDEX devices_metadata ON devices USING gin (metadata jsonb_path_ops);

CREATE TABLE sensors (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  device_id bigint NOT NULL REFERENCES devices ON DELETE CASCADE,
  name text NOT NULL,
  unit text NOT NULL,
  UNIQUE (device_id, name)
);

CREATE TABLE readings (
  sensor_id bigint NOT NULL REFERENCES sensors ON DELETE CASCADE,
  at timestamptz NOT NULL,
  value numeric(15,4) NOT NULL,
  PRIMARY KEY (sensor_id, at)
) PARTITION BY RANGE (at);
CREATE TABLE readings_other PARTITION OF readings DEFAULT;
CREATE INDEX readings_time ON readings USING brin (at);
COMMENT ON TABLE readings IS 'one partition a month is best added as a schema change: CREATE TABLE readings_2027_01 PARTITION OF readings FOR VALUES FROM (…) TO (…)';

CREATE TABLE alert_rules (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sensor_id bigint NOT NULL REFERENCES sensors ON DELETE CASCADE,
  severity alert_severity NOT NULL DEFAULT 'warning',
  below numeric(15,4),
  above numeric(15,4),
  enabled boolean NOT NULL DEFAULT true,
  CHECK (below IS NOT NULL OR above IS NOT NULL)
);
CREATE INDEX alert_rules_sensor ON alert_rules (sensor_id) WHERE enabled;

CREATE TABLE alerts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  rule_id bigint REFERENCES alert_rules ON DELETE SET NULL,
  sensor_id bigint NOT NULL REFERENCES sensors ON DELETE CASCADE,
  severity alert_severity NOT NULL,
  value numeric(15,4) NOT NULL,
  raised_at timestamptz NOT NULL DEFAULT now(),
  acknowledged_at timestamptz,
  acknowledged_by text
);
CREATE INDEX alerts_open ON alerts (severity DESC, raised_at) WHERE acknowledged_at IS NULL;
CREATE INDEX alerts_sensor ON alerts (sensor_id, raised_at DESC);

CREATE FUNCTION raise_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO alerts (rule_id, sensor_id, severity, value, raised_at)
    SELECT r.id, new.sensor_id, r.severity, new.value, new.at FROM alert_rules r
     WHERE r.sensor_id = new.sensor_id AND r.enabled AND (new.value < r.below OR new.value > r.above);
  RETURN NULL;
END $$;
CREATE TRIGGER readings_alert AFTER INSERT ON readings FOR EACH ROW EXECUTE FUNCTION raise_alerts();

CREATE TABLE commands (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  device_id bigint NOT NULL REFERENCES devices ON DELETE CASCADE,
  name text NOT NULL,
  parameters jsonb NOT NULL DEFAULT '{}',
  sent_at timestamptz,
  acknowledged_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX commands_unsent ON commands (device_id, created_at) WHERE sent_at IS NULL;
`;
