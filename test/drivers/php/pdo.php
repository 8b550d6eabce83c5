<?php
// PDO's pgsql driver, and the pgsql extension below it for what PDO has no interface for.
declare(strict_types=1);

$failed = false;

function step(string $name, callable $work): void
{
    global $failed;
    try {
        $work();
        echo "ok $name\n";
    } catch (Throwable $error) {
        $failed = true;
        echo "fail $name: " . preg_replace('/\s+/', ' ', $error->getMessage()) . "\n";
    }
}

function equal(mixed $got, mixed $wanted): void
{
    if ($got !== $wanted) {
        throw new Exception('got ' . json_encode($got) . ', expected ' . json_encode($wanted));
    }
}

/** The error that the work ends with. */
function failure(callable $work): PDOException
{
    try {
        $work();
    } catch (PDOException $error) {
        return $error;
    }
    throw new Exception('it was expected to fail');
}

function env(string $name): string
{
    $value = getenv($name);
    return $value === false ? throw new Exception("$name is not set") : $value;
}

function open(array $options = [], ?string $password = null): PDO
{
    $dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s;sslmode=verify-full;sslrootcert=%s', env('TDB_HOST'), env('TDB_PORT'), env('TDB_DATABASE'), env('TDB_CA_FILE'));
    return new PDO($dsn, env('TDB_USER'), $password ?? env('TDB_PASSWORD'), $options + [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

echo 'version ' . PHP_VERSION . "\n";

step('types', function () {
    $query = open()->prepare('SELECT ?::int8, ?::float8, ?::text, ?::bool, ?::text, ?::numeric, ?::jsonb, ?::bytea');
    $query->bindValue(1, 1 << 62, PDO::PARAM_INT);
    $query->bindValue(2, 1.5);
    $query->bindValue(3, 'žluťoučký 🐘');
    $query->bindValue(4, true, PDO::PARAM_BOOL);
    $query->bindValue(5, null, PDO::PARAM_NULL);
    $query->bindValue(6, '12345678901234567890.12');
    $query->bindValue(7, '{"a": "b"}');
    $query->bindValue(8, "\x00\x01\xff", PDO::PARAM_LOB);
    $query->execute();
    $row = $query->fetch(PDO::FETCH_NUM);
    $row[7] = stream_get_contents($row[7]);
    equal(array_slice($row, 0, 7), [1 << 62, '1.5', 'žluťoučký 🐘', true, null, '12345678901234567890.12', '{"a": "b"}']);
    equal(bin2hex($row[7]), '0001ff');
});

step('prepared statements', function () {
    foreach ([false, true] as $emulated) {
        $query = open([PDO::ATTR_EMULATE_PREPARES => $emulated])->prepare('SELECT CAST(:n AS int) * 2');
        foreach (range(0, 49) as $n) {
            $query->execute(['n' => $n]);
            equal($query->fetchColumn(), 2 * $n);
        }
    }
});

step('transactions', function () {
    $db = open();
    $db->exec('CREATE TEMP TABLE steps (n int)');
    $db->beginTransaction();
    $db->exec('INSERT INTO steps VALUES (1)');
    $db->exec('SAVEPOINT before');
    equal(failure(fn () => $db->query('SELECT 1/0'))->getCode(), '22012');
    equal(failure(fn () => $db->query('SELECT 1'))->getCode(), '25P02');
    $db->exec('ROLLBACK TO before');
    $db->commit();
    $db->beginTransaction();
    $db->exec('INSERT INTO steps VALUES (2)');
    $db->rollBack();
    equal($db->query('SELECT sum(n) FROM steps')->fetchColumn(), 1);
});

step('pool', function () {
    // What PHP has of a pool: the process keeps its connection, and the next request in it finds it.
    $first = open([PDO::ATTR_PERSISTENT => true]);
    $pid = $first->query('SELECT pg_backend_pid()')->fetchColumn();
    $first = null;
    equal(open([PDO::ATTR_PERSISTENT => true])->query('SELECT pg_backend_pid()')->fetchColumn(), $pid);
});

step('cancellation', function () {
    $db = open();
    $db->exec('SET statement_timeout = 50');
    equal(failure(fn () => $db->query('SELECT pg_sleep(30)'))->getCode(), '57014');
    $db->exec('RESET statement_timeout');
    equal($db->query('SELECT 1')->fetchColumn(), 1);

    $raw = pg_connect(sprintf("host=%s port=%s dbname=%s user=%s password=%s sslmode=verify-full sslrootcert='%s'", env('TDB_HOST'), env('TDB_PORT'),
        env('TDB_DATABASE'), env('TDB_USER'), env('TDB_PASSWORD'), env('TDB_CA_FILE')));
    pg_send_query($raw, 'SELECT pg_sleep(30)');
    // It takes what it cancelled from the connection with it.
    equal(pg_cancel_query($raw), true);
    equal(pg_fetch_result(pg_query($raw, 'SELECT 1'), 0), '1');
});

step('errors', function () {
    $db = open();
    $refused = failure(fn () => $db->exec('CREATE TABLE mine (i int)'));
    equal($refused->getCode(), '42501');
    equal(str_contains($refused->getMessage(), 'DDL not allowed on tenant databases, use workspace mode'), true);
    $db->beginTransaction();
    $insert = $db->prepare("INSERT INTO accounts (name, email) VALUES ('Twice', ?)");
    $insert->execute(['php-twice@test.com']);
    $twice = failure(fn () => $insert->execute(['php-twice@test.com']));
    equal($twice->getCode(), '23505');
    equal(str_contains($twice->getMessage(), 'accounts_email_key'), true);
    $db->rollBack();
});

step('LISTEN', function () {
    $listener = open();
    $listener->exec('LISTEN news');
    open()->exec("SELECT pg_notify('news', 'to php')");
    equal($listener->pgsqlGetNotify(PDO::FETCH_ASSOC, 30000)['payload'], 'to php');
});

step('reconnect', function () {
    $db = open();
    failure(fn () => $db->query('SELECT pg_terminate_backend(pg_backend_pid())'));
    failure(fn () => $db->query('SELECT 1'));
    equal(open()->query('SELECT 1')->fetchColumn(), 1);
});

step('cursor', function () {
    $db = open();
    $db->beginTransaction();
    $rows = $db->prepare('SELECT n FROM generate_series(1, 1000) n', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $rows->execute();
    equal($rows->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_LAST)[0], 1000);
    equal($rows->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_FIRST)[0], 1);
    $db->rollBack();
});

step('large objects', function () {
    $db = open();
    $db->beginTransaction();
    $oid = $db->pgsqlLOBCreate();
    $stream = $db->pgsqlLOBOpen($oid, 'w');
    fwrite($stream, str_repeat('x', 100000));
    fclose($stream);
    equal(strlen(stream_get_contents($db->pgsqlLOBOpen($oid, 'r'))), 100000);
    $db->pgsqlLOBUnlink($oid);
    $db->rollBack();
});

step('wrong password', fn () => equal(str_contains(failure(fn () => open([], 'tdb_0000000000000000'))->getMessage(), 'password authentication failed'), true));

step('COPY refused', function () {
    $db = open();
    equal(str_contains(failure(fn () => $db->pgsqlCopyToArray('accounts'))->getMessage(), 'COPY protocol is not supported through the proxy'), true);
    equal($db->query('SELECT 1')->fetchColumn(), 1);
});

exit($failed ? 1 : 0);
