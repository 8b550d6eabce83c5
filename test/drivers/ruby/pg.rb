# The pg gem on its own.
require 'pg'
require_relative 'check'

def connect(**more)
  PG.connect(host: ENV.fetch('TDB_HOST'), port: ENV.fetch('TDB_PORT'), dbname: ENV.fetch('TDB_DATABASE'), user: ENV.fetch('TDB_USER'),
             password: ENV.fetch('TDB_PASSWORD'), sslmode: 'verify-full', sslrootcert: ENV.fetch('TDB_CA_FILE'), **more)
end

def state(error)
  error.result&.error_field(PG::Result::PG_DIAG_SQLSTATE)
end

def with_connection
  connection = connect
  yield connection
ensure
  connection&.close
end

puts "version #{PG::VERSION}"

Check.step('types') do
  with_connection do |connection|
    connection.type_map_for_results = PG::BasicTypeMapForResults.new(connection)
    connection.type_map_for_queries = PG::BasicTypeMapForQueries.new(connection)
    moment = Time.utc(2026, 2, 28, 23, 59, 59.123456r)
    row = connection.exec_params('SELECT $1::int8, $2::float8, $3::text, $4::timestamptz, $5::int8[], $6::bool, $7::text, $8::numeric',
                                 [1 << 62, 1.5, 'žluťoučký 🐘', moment, [1, 2, 3], true, nil, BigDecimal('12345678901234567890.12')]).values.first
    Check.equal(row, [1 << 62, 1.5, 'žluťoučký 🐘', moment, [1, 2, 3], true, nil, BigDecimal('12345678901234567890.12')])
    bytes = [0, 1, 255].pack('C*')
    answer = connection.exec_params('SELECT $1::bytea', [{ value: bytes, format: 1 }], 1, PG::TypeMapAllStrings.new)
    Check.equal(answer.getvalue(0, 0), bytes)
  end
end

Check.step('prepared statements') do
  with_connection do |connection|
    connection.prepare('twice', 'SELECT $1::int * 2')
    50.times { |n| Check.equal(connection.exec_prepared('twice', [n]).getvalue(0, 0), (2 * n).to_s) }
    connection.exec('DEALLOCATE twice')
    Check.equal(state(Check.failure(PG::InvalidSqlStatementName) { connection.exec_prepared('twice', [1]) }), '26000')
  end
end

Check.step('transactions') do
  with_connection do |connection|
    connection.exec('CREATE TEMP TABLE steps (n int)')
    connection.transaction do |inside|
      inside.exec('INSERT INTO steps VALUES (1)')
      inside.exec('SAVEPOINT before')
      Check.equal(state(Check.failure(PG::DivisionByZero) { inside.exec('SELECT 1/0') }), '22012')
      Check.equal(inside.transaction_status, PG::PQTRANS_INERROR)
      inside.exec('ROLLBACK TO before')
    end
    Check.failure(ArgumentError) do
      connection.transaction do |inside|
        inside.exec('INSERT INTO steps VALUES (2)')
        raise ArgumentError
      end
    end
    Check.equal(connection.exec('SELECT sum(n) FROM steps').getvalue(0, 0), '1')
  end
end

Check.skip('pool', "ActiveRecord's row")

Check.step('cancellation') do
  with_connection do |connection|
    connection.send_query('SELECT pg_sleep(30)')
    until connection.block(0.05)
      connection.cancel
    end
    Check.equal(state(Check.failure(PG::QueryCanceled) { connection.get_last_result }), '57014')
    connection.exec('SET statement_timeout = 50')
    Check.failure(PG::QueryCanceled) { connection.exec('SELECT pg_sleep(30)') }
    Check.equal(connection.exec('SELECT 1').getvalue(0, 0), '1')
  end
end

Check.step('errors') do
  with_connection do |connection|
    refused = Check.failure(PG::InsufficientPrivilege) { connection.exec('CREATE TABLE mine (i int)') }
    Check.equal(refused.result.error_field(PG::Result::PG_DIAG_MESSAGE_PRIMARY), 'DDL not allowed on tenant databases, use workspace mode')
    connection.exec("BEGIN; INSERT INTO accounts (name, email) VALUES ('Twice', 'ruby-twice@test.com')")
    twice = Check.failure(PG::UniqueViolation) { connection.exec("INSERT INTO accounts (name, email) VALUES ('Twice', 'ruby-twice@test.com')") }
    Check.equal(twice.result.error_field(PG::Result::PG_DIAG_CONSTRAINT_NAME), 'accounts_email_key')
    connection.exec('ROLLBACK')
  end
end

Check.step('LISTEN') do
  with_connection do |listener|
    listener.exec('LISTEN news')
    with_connection { |sender| sender.exec("SELECT pg_notify('news', 'to ruby')") }
    said = nil
    listener.wait_for_notify(30) { |_channel, _pid, payload| said = payload }
    Check.equal(said, 'to ruby')
  end
end

Check.step('reconnect') do
  with_connection do |connection|
    # Where the connection is found closed before its last words are read, this is all that libpq tells.
    Check.failure(PG::Error) { connection.exec('SELECT pg_terminate_backend(pg_backend_pid())') }
    Check.equal(connection.status, PG::CONNECTION_BAD)
    connection.reset
    Check.equal(connection.exec('SELECT 1').getvalue(0, 0), '1')
  end
end

Check.step('pipeline') do
  with_connection do |connection|
    connection.enter_pipeline_mode
    3.times do |n|
      connection.send_query_params('SELECT 6 / $1::int', [n])
      connection.pipeline_sync
    end
    answers = []
    synced = 0
    while synced < 3
      result = connection.get_result
      next unless result

      case result.result_status
      when PG::PGRES_PIPELINE_SYNC then synced += 1
      when PG::PGRES_TUPLES_OK then answers << result.getvalue(0, 0)
      else answers << result.error_field(PG::Result::PG_DIAG_SQLSTATE)
      end
    end
    connection.exit_pipeline_mode
    Check.equal(answers, %w[22012 6 3])
  end
end

Check.step('single row mode') do
  with_connection do |connection|
    connection.send_query("SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
    connection.set_single_row_mode
    sum = 0
    connection.get_result.stream_each_row { |row| sum += row.first.to_i }
    Check.equal(sum, 20_000 * 20_001 / 2)
  end
end

Check.step('wrong password') do
  wrong = Check.failure(PG::ConnectionBad) { connect(password: 'tdb_0000000000000000') }
  Check.equal(wrong.message.include?("password authentication failed for user \"#{ENV.fetch('TDB_USER')}\""), true)
end

Check.step('COPY refused') do
  with_connection do |connection|
    Check.equal(state(Check.failure(PG::FeatureNotSupported) { connection.copy_data('COPY accounts TO STDOUT') { nil } }), '0A000')
    Check.equal(connection.exec('SELECT 1').getvalue(0, 0), '1')
  end
end

Check.finish
