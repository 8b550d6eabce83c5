# Perl's DBI with DBD::Pg.
use v5.32;
use utf8;
use DBI;
use DBD::Pg qw(:async :pg_types);

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
    my $at = "host=$ENV{TDB_HOST};port=$ENV{TDB_PORT};dbname=$ENV{TDB_DATABASE};sslmode=verify-full;sslrootcert=$ENV{TDB_CA_FILE}";
    my $password = delete $more{password} // $ENV{TDB_PASSWORD};
    return DBI->connect("dbi:Pg:$at", $ENV{TDB_USER}, $password, { RaiseError => 1, PrintError => 0, AutoCommit => 1, %more });
}

say "version $DBD::Pg::VERSION";

step 'types', sub {
    my $query = connect_to()->prepare('SELECT ?::int8, ?::float8, ?::text, ?::bool, ?::text, ?::numeric, ?::bytea, ?::int[]');
    my $bytes = "\x00\x01\xff";
    $query->bind_param(1, '4611686018427387904');
    $query->bind_param(2, 1.5);
    $query->bind_param(3, 'žluťoučký 🐘');
    $query->bind_param(4, 1);
    $query->bind_param(5, undef);
    $query->bind_param(6, '12345678901234567890.12');
    $query->bind_param(7, $bytes, { pg_type => PG_BYTEA });
    $query->bind_param(8, [1, 2, 3]);
    $query->execute;
    my @row = $query->fetchrow_array;
    equal(join('|', map { $_ // 'undef' } @row[0 .. 5]), '4611686018427387904|1.5|žluťoučký 🐘|1|undef|12345678901234567890.12');
    equal($row[6], $bytes);
    equal("@{$row[7]}", '1 2 3');
};

step 'prepared statements', sub {
    for my $server_prepare (0, 1) {
        my $query = connect_to(pg_server_prepare => $server_prepare)->prepare('SELECT ?::int * 2');
        for my $n (0 .. 49) {
            $query->execute($n);
            equal($query->fetchrow_array, 2 * $n);
        }
    }
};

step 'transactions', sub {
    my $db = connect_to();
    $db->do('CREATE TEMP TABLE steps (n int)');
    $db->begin_work;
    $db->do('INSERT INTO steps VALUES (1)');
    $db->pg_savepoint('before');
    equal(failure(sub { $db->do('SELECT 1/0') }), '22012');
    equal(failure(sub { $db->do('SELECT 1') }), '25P02');
    $db->pg_rollback_to('before');
    $db->commit;
    $db->begin_work;
    $db->do('INSERT INTO steps VALUES (2)');
    $db->rollback;
    equal($db->selectrow_array('SELECT sum(n) FROM steps'), 1);
};

step 'pool', sub {
    my @at = ("dbi:Pg:host=$ENV{TDB_HOST};port=$ENV{TDB_PORT};dbname=$ENV{TDB_DATABASE};sslmode=require", $ENV{TDB_USER}, $ENV{TDB_PASSWORD}, { RaiseError => 1, PrintError => 0 });
    # What DBI has of a pool: one connection for each set of arguments, checked before it is given out again.
    my $first = DBI->connect_cached(@at);
    my $pid = $first->selectrow_array('SELECT pg_backend_pid()');
    equal(DBI->connect_cached(@at)->selectrow_array('SELECT pg_backend_pid()'), $pid);
    failure(sub { $first->do('SELECT pg_terminate_backend(pg_backend_pid())') });
    equal(DBI->connect_cached(@at)->selectrow_array('SELECT 1'), 1);
};

step 'cancellation', sub {
    my $db = connect_to();
    $db->do('SELECT pg_sleep(30)', { pg_async => PG_ASYNC });
    equal($db->pg_cancel, 1);
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
    $insert->execute('perl-twice@test.com');
    equal(failure(sub { $insert->execute('perl-twice@test.com') }), '23505');
    equal($db->pg_error_field('constraint'), 'accounts_email_key');
    $db->rollback;
};

step 'LISTEN', sub {
    my $listener = connect_to();
    $listener->do('LISTEN news');
    connect_to()->do("SELECT pg_notify('news', 'to perl')");
    my $said;
    # A query takes in what has arrived.
    until ($said = $listener->pg_notifies) { $listener->do('SELECT pg_sleep(0.05)') }
    equal($said->[2], 'to perl');
};

step 'reconnect', sub {
    my $db = connect_to();
    failure(sub { $db->do('SELECT pg_terminate_backend(pg_backend_pid())') });
    equal($db->ping, 0);
    my $again = $db->clone;
    equal($again->selectrow_array('SELECT 1'), 1);
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
