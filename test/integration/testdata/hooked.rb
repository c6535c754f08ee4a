# The application of the tests with the job hook: one line loads it.
require_relative "../../../lib/ruby/sidekiq_job_hook"
require_relative "app"
