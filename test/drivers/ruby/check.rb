# Prints one line for each thing a driver was seen to do, and ends the program with 1 when one of them went wrong.
require 'timeout'

$stdout.sync = true

module Check
  @failed = false

  def self.step(name)
    Timeout.timeout(60) { yield }
    puts "ok #{name}"
  rescue StandardError => e
    @failed = true
    puts "fail #{name}: #{e.class}: #{e.message.gsub(/\s+/, ' ')}"
  end

  def self.skip(name, why)
    puts "skip #{name}: #{why}"
  end

  def self.finish
    exit(@failed ? 1 : 0)
  end

  def self.equal(got, wanted)
    raise "got #{got.inspect}, expected #{wanted.inspect}" unless got == wanted
  end

  # The error of a class that the block ends with.
  def self.failure(kind)
    yield
  rescue kind => e
    e
  else
    raise "it was expected to fail with #{kind}"
  end
end
