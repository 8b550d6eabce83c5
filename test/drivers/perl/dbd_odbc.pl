# psqlODBC under unixODBC, used through Perl's DBD::ODBC.
use v5.32;
use utf8;
use DBI;
use Encode qw(decode);
use DBD::ODBC;

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;
my $failed = 0;

sub step {
    my ($name, $work) = @_;
    local $SIG{ALRM} = sub { die "it did not end\n" };
    alarm 60;
    if (eval { $work->(); 1 }) { say "ok $name" }
    else { $failed = 1; say "fail $name: " . ($@ =~ s/\s+/ /gr) }
    alarm 0;
}

sub equal {
    my ($got, $wanted) = map { $_ // 'undef' } @_;
    die "got $got, expected $wanted\n" unless $got eq $wanted;
}

# The SQLSTATE that the work ends with.
sub failure {
    my ($work) = @_;
    eval { $work->(); 1 } and die "it was expected to fail\n";
    return $DBI::state;
}

sub connect_to {
    my (%more) = @_;
    my $options = delete $more{options} // '';
    my $password = delete $more{password} // $ENV{TDB_PASSWORD};
    my $at = "Driver={PostgreSQL Unicode};Server=$ENV{TDB_HOST};Port=$ENV{TDB_PORT};Database=$ENV{TDB_DATABASE};"
        . "UID=$ENV{TDB_USER};PWD=$password;sslmode=verify-full;pqopt={sslrootcert=$ENV{TDB_CA_FILE}};$options";
    return DBI->connect("dbi:ODBC:$at", undef, undef, { RaiseError => 1, PrintError => 0, AutoCommit => 1, LongReadLen => 100_000, %more });
}

say 'version ' . connect_to()->get_info(7); # SQL_DRIVER_VER

step 'types', sub {
    my $db = connect_to(options => 'ByteaAsLongVarBinary=1');
    my $query = $db->prepare("SELECT CAST(? AS int8), CAST(? AS float8), CAST(? AS text), CAST(? AS text), CAST(? AS numeric), CAST(? AS timestamp), CAST('\\x0001ff' AS bytea)");
    $query->bind_param(1, '4611686018427387904');
    $query->bind_param(2, 1.5);
    $query->bind_param(3, 'žluťoučký 🐘');
    $query->bind_param(4, undef);
    $query->bind_param(5, '1234567890.12');
    $query->bind_param(6, '2026-02-28 23:59:59.123456');
    $query->execute;
    my @row = $query->fetchrow_array;
    equal(decode('UTF-8', join('|', map { $_ // 'undef' } @row[0 .. 5])), '4611686018427387904|1.5|žluťoučký 🐘|undef|1234567890.12|2026-02-28 23:59:59.123456');
    equal($row[6], "\x00\x01\xff");
};

step 'prepared statements', sub {
    for my $server_side (0, 1) {
        my $query = connect_to(options => "UseServerSidePrepare=$server_side")->prepare('SELECT CAST(? AS int) * 2');
        for my $n (0 .. 49) {
            $query->execute($n);
            equal($query->fetchrow_array, 2 * $n);
            $query->finish;
        }
    }
};

step 'transactions', sub {
    my $db = connect_to();
    $db->do('CREATE TEMP TABLE steps (n int)');
    $db->begin_work;
    $db->do('INSERT INTO steps VALUES (1)');
    # psqlODBC takes the failed statement back alone, with a savepoint of its own.
    equal(failure(sub { $db->do('SELECT 1/0') }), '22012');
    $db->commit;
    $db->begin_work;
    $db->do('INSERT INTO steps VALUES (2)');
    $db->rollback;
    equal($db->selectrow_array('SELECT sum(n) FROM steps'), 1);
};

say 'skip pool: the pool is that of unixODBC, switched on in its own configuration';

step 'cancellation', sub {
    my $db = connect_to();
    $db->do('SET statement_timeout = 50');
    equal(failure(sub { $db->do('SELECT pg_sleep(30)') }), '57014');
    equal($db->selectrow_array('SELECT 1'), 1);
};

step 'errors', sub {
    my $db = connect_to();
    equal(failure(sub { $db->do('CREATE TABLE mine (i int)') }), '42501');
    equal($db->errstr =~ /DDL not allowed on tenant databases, use workspace mode/ ? 1 : $db->errstr, 1);
    $db->begin_work;
    my $insert = $db->prepare("INSERT INTO accounts (name, email) VALUES ('Twice', ?)");
    $insert->execute('odbc-twice@test.com');
    equal(failure(sub { $insert->execute('odbc-twice@test.com') }), '23505');
    $db->rollback;
};

say 'skip LISTEN: ODBC has no interface for it';

step 'reconnect', sub {
    my $db = connect_to();
    failure(sub { $db->do('SELECT pg_terminate_backend(pg_backend_pid())') });
    equal($db->ping ? 1 : 0, 0);
    equal(connect_to()->selectrow_array('SELECT 1'), 1);
};

step 'cursor', sub {
    my $db = connect_to(options => 'UseDeclareFetch=1;Fetch=100');
    my $rows = $db->prepare('SELECT n FROM generate_series(1, 5000) n');
    $rows->execute;
    my $sum = 0;
    while (my ($n) = $rows->fetchrow_array) { $sum += $n }
    equal($sum, 5000 * 5001 / 2);
};

step 'catalog', sub {
    my $db = connect_to();
    my $columns = $db->column_info(undef, 'public', 'accounts', '%')->fetchall_arrayref({});
    equal(join(' ', map { $_->{COLUMN_NAME} } @$columns[0 .. 3]), 'id name email balance');
    equal(join(' ', $db->primary_key(undef, 'public', 'accounts')), 'id');
};

step 'wrong password', sub {
    failure(sub { connect_to(password => 'tdb_0000000000000000') });
    equal($DBI::errstr =~ /password authentication failed for user "$ENV{TDB_USER}"/ ? 1 : $DBI::errstr, 1);
};

step 'COPY refused', sub {
    my $db = connect_to();
    equal(failure(sub { $db->do('COPY accounts TO STDOUT') }), '0A000');
    equal($db->selectrow_array('SELECT 1'), 1);
};

exit $failed;
