-- One of five transactions of the mixed workload.
\set id random(1, 100000)
\set delta random(-100, 100)
UPDATE accounts SET balance = balance + :delta WHERE id = :id;
