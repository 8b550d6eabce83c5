/** Answers of instances to each other, for the second or so until they are read; see gateway/operations/instances.ts. */
export const instanceAnswersTable = `
create unlogged table tenantry.instance_answers (
  question_id text not null,
  instance integer not null,
  answer jsonb not null,
  at timestamptz not null,
  primary key (question_id, instance)
);
`;
