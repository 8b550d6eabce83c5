/** A publication: authors, posts with drafts and revisions, tags, comments in threads, full-text search. */
export const blog = `
CREATE TYPE post_status AS ENUM ('draft', 'scheduled', 'published', 'archived');
CREATE TYPE comment_status AS ENUM ('pending', 'approved', 'spam');

CREATE TABLE authors (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]+$'),
  email text NOT NULL,
  bio text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX authors_email ON authors (lower(email));

CREATE TABLE posts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  author_id bigint NOT NULL REFERENCES authors,
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]+$'),
  title text NOT NULL CHECK (title <> ''),
  summary text NOT NULL DEFAULT '',
  body text NOT NULL DEFAULT '',
  status post_status NOT NULL DEFAULT 'draft',
  published_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  search tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', summary), 'B') || to_tsvector('english', body)
  ) STORED,
  CHECK (status NOT IN ('scheduled', 'published') OR published_at IS NOT NULL)
);
CREATE INDEX posts_author ON posts (author_id);
CREATE INDEX posts_published ON posts (published_at DESC) WHERE status = 'published';
CREATE INDEX posts_search ON posts USING gin (search);

CREATE TABLE revisions (
  post_id bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
  number integer NOT NULL CHECK (number > 0),
  title text NOT NULL,
  body text NOT NULL,
  saved_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (post_id, number)
);

CREATE FUNCTION keep_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO revisions (post_id, number, title, body)
    SELECT old.id, coalesce(max(r.number), 0) + 1, old.title, old.body FROM revisions r WHERE r.post_id = old.id;
  RETURN NULL;
END $$;
CREATE TRIGGER posts_revision AFTER UPDATE OF title, body ON posts FOR EACH ROW
  WHEN (old.title IS DISTINCT FROM new.title OR old.body IS DISTINCT FROM new.body) EXECUTE FUNCTION keep_revision();

CREATE TABLE tags (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE,
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]+$')
);

CREATE TABLE post_tags (
  post_id bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
  tag_id bigint NOT NULL REFERENCES tags ON DELETE CASCADE,
  PRIMARY KEY (post_id, tag_id)
);
CREATE INDEX post_tags_tag ON post_tags (tag_id);

CREATE TABLE comments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  post_id bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
  parent_id bigint REFERENCES comments ON DELETE CASCADE,
  name text NOT NULL,
  email text,
  body text NOT NULL CHECK (body <> ''),
  status comment_status NOT NULL DEFAULT 'pending',
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX comments_post ON comments (post_id, created_at) WHERE status = 'approved';
CREATE INDEX comments_parent ON comments (parent_id);
CREATE INDEX comments_pending ON comments (created_at) WHERE status = 'pending';

CREATE TABLE media (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uploaded_by bigint REFERENCES authors ON DELETE SET NULL,
  path text NOT NULL UNIQUE,
  mime_type text NOT NULL,
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
  alt_text text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE subscribers (
  email text PRIMARY KEY CHECK (email = lower(email)),
  confirmed_at timestamptz,
  unsubscribed_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
`;
