# A worker of Delayed Job with its jobs in a file: delayed_job.rb work; delayed_job.rb push NUMBER MEGABYTES SECONDS.
require "active_record"
require "delayed_job_active_record"

ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ENV.fetch("DATABASE"), timeout: 10_000)
ActiveRecord::Schema.verbose = false
unless ActiveRecord::Base.connection.table_exists?(:delayed_jobs)
  ActiveRecord::Schema.define do
    create_table :delayed_jobs do |t|
      t.integer :priority, :attempts, default: 0
      t.text :handler, :last_error
      t.datetime :run_at, :locked_at, :failed_at
      t.string :locked_by, :queue
      t.timestamps null: true
    end
  end
end

KEPT = []

# Keeps some memory, then goes on for a while.
Leak = Struct.new(:number, :megabytes, :seconds) do
  def note(what)
    File.write(ENV.fetch("LEDGER"), "#{what} #{number} #{Process.pid}\n", mode: "a")
  end

  def perform
    note("start")
    KEPT << "x" * (megabytes << 20)
    sleep seconds
    note("done")
  end
end

case ARGV.shift
when "work"
  Delayed::Worker.sleep_delay = 0.1
  Delayed::Worker.new(quiet: true).start
when "push"
  number, megabytes, seconds = ARGV
  Delayed::Job.enqueue(Leak.new(number, megabytes.to_i, seconds.to_f))
end
