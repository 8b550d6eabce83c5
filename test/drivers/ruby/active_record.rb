# ActiveRecord as a Rails application uses it. With an argument it migrates the workspace instead.
require 'active_record'
require_relative 'check'

def settings(**more)
  { adapter: 'postgresql', host: ENV.fetch('TDB_HOST'), port: ENV.fetch('TDB_PORT'), database: ENV.fetch('TDB_DATABASE'), username: ENV.fetch('TDB_USER'),
    password: ENV.fetch('TDB_PASSWORD'), sslmode: 'verify-full', sslrootcert: ENV.fetch('TDB_CA_FILE'), **more }
end

class Account < ActiveRecord::Base
end

puts "version #{ActiveRecord::VERSION::STRING}"

if ARGV.any?
  ActiveRecord::Base.establish_connection(settings(database: ENV.fetch('TDB_WORKSPACE_DATABASE'), password: ENV.fetch('TDB_WORKSPACE_PASSWORD')))
  ActiveRecord::Migration.verbose = false
  ActiveRecord::MigrationContext.new('.', ActiveRecord::SchemaMigration).up(ARGV.last.to_i)
  exit
end

ActiveRecord::Base.establish_connection(settings(pool: 4))

def select(sql)
  ActiveRecord::Base.connection.select_value(sql)
end

Check.step('types') do
  Account.transaction do
    account = Account.create!(name: 'Žofie 🐘', email: 'ar-types@test.com', balance: BigDecimal('1234567890123.45'), created_at: Time.utc(2026, 2, 28, 23, 59, 59.123456r))
    found = Account.find(account.id)
    Check.equal([found.name, found.balance, found.created_at], ['Žofie 🐘', BigDecimal('1234567890123.45'), Time.utc(2026, 2, 28, 23, 59, 59.123456r)])
    raise ActiveRecord::Rollback
  end
end

Check.step('prepared statements') do
  Account.transaction do
    20.times { |n| Account.create!(name: "Prepared #{n}", email: "ar-#{n}@test.com") }
    20.times { |n| Check.equal(Account.find_by(email: "ar-#{n}@test.com").name, "Prepared #{n}") }
    Check.equal(select('SELECT count(*) FROM pg_prepared_statements') > 0, true)
    raise ActiveRecord::Rollback
  end
end

Check.step('transactions') do
  Account.transaction do
    Account.create!(name: 'AR outer', email: 'ar-outer@test.com')
    Check.failure(ActiveRecord::StatementInvalid) { Account.transaction(requires_new: true) { select('SELECT 1/0') } }
    Check.equal(Account.where(name: 'AR outer').count, 1)
    raise ActiveRecord::Rollback
  end
  Check.equal(Account.where(name: 'AR outer').count, 0)
  Account.transaction(isolation: :serializable) { Account.lock.first }
end

Check.step('pool') do
  answers = Array.new(20) do |n|
    Thread.new { ActiveRecord::Base.connection_pool.with_connection { |connection| connection.select_value("SELECT #{n} * 2") } }
  end.map(&:value)
  Check.equal(answers, Array.new(20) { |n| 2 * n })
  Check.equal(ActiveRecord::Base.connection_pool.connections.size <= 4, true)
end

Check.step('cancellation') do
  select('SELECT 1')
  ActiveRecord::Base.connection.execute('SET statement_timeout = 50')
  Check.failure(ActiveRecord::QueryCanceled) { select('SELECT pg_sleep(30)') }
  ActiveRecord::Base.connection.execute('RESET statement_timeout')
  Check.equal(select('SELECT 1'), 1)
end

Check.step('errors') do
  Account.transaction do
    Account.create!(name: 'Twice', email: 'ar-twice@test.com')
    Check.failure(ActiveRecord::RecordNotUnique) { Account.create!(name: 'Twice', email: 'ar-twice@test.com') }
    raise ActiveRecord::Rollback
  end
  refused = Check.failure(ActiveRecord::StatementInvalid) { ActiveRecord::Base.connection.create_table(:mine) }
  Check.equal(refused.message.include?('DDL not allowed on tenant databases, use workspace mode'), true)
end

Check.step('LISTEN') do
  listener = ActiveRecord::Base.connection
  listener.execute('LISTEN news')
  Thread.new { ActiveRecord::Base.connection_pool.with_connection { |connection| connection.execute("NOTIFY news, 'to rails'") } }.join
  said = nil
  listener.raw_connection.wait_for_notify(30) { |_channel, _pid, payload| said = payload }
  listener.execute('UNLISTEN *')
  Check.equal(said, 'to rails')
end

Check.step('reconnect') do
  Check.failure(ActiveRecord::StatementInvalid) { select('SELECT pg_terminate_backend(pg_backend_pid())') }
  # What a request does at its start.
  ActiveRecord::Base.connection.verify!
  Check.equal(select('SELECT 1'), 1)
end

Check.step('batches') do
  Account.transaction do
    Account.insert_all(Array.new(500) { |n| { name: 'AR batch', email: "ar-batch-#{n}@test.com" } })
    Check.equal(Account.where(name: 'AR batch').find_each(batch_size: 90).sum { 1 }, 500)
    raise ActiveRecord::Rollback
  end
end

Check.step('schema read') do
  Check.equal(ActiveRecord::Base.connection.columns('accounts').map(&:name).first(4), %w[id name email balance])
  Check.equal(ActiveRecord::Base.connection.indexes('accounts').map(&:columns), [%w[email]])
end

# Another tenant in the same process: both keys are switched, the database and its password.
Check.step('another tenant') do
  ActiveRecord::Base.establish_connection(settings(database: ENV.fetch('TDB_OTHER_DATABASE'), password: ENV.fetch('TDB_OTHER_PASSWORD')))
  Check.equal(Account.where(name: 'Zoe').count, 0)
end

Check.finish
