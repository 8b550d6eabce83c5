-- Four of five transactions of the mixed workload.
\set id random(1, 100000)
SELECT id, name, balance FROM accounts WHERE id = :id;
