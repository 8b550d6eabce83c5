# An application that knows its database from database.yml alone, and prints the accounts.
require 'active_record'
require 'yaml'

class Account < ActiveRecord::Base
end

ActiveRecord::Base.establish_connection(YAML.load_file('database.yml').fetch('production'))
Account.find_each { |account| puts "#{account.name} #{account.balance.to_s('F')}" }
