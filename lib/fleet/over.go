package fleet

import "github.com/redis/go-redis/v9"

// overField is when a sweep saw the instance over its limit first, in ms of Redis' clock. It is in the hash of the
// instance, and so goes with it.
const overField = "gracekit_over"

// overScript writes nothing into a hash that has expired: without a lifetime, it would stay forever.
var overScript = redis.NewScript(`if redis.replicate_commands then redis.replicate_commands() end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
return redis.call('HSETNX', KEYS[1], ARGV[1], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))`)

// NoteOver notes that an instance is over its limit from now on, if it was not noted before.
func (f *Fleet) NoteOver(identity string) error {
	return f.wrap(overScript.Run(f.ctx, f.redis, []string{f.prefix + identity}, overField).Err())
}

// NoteUnder removes what NoteOver noted.
func (f *Fleet) NoteUnder(identity string) error {
	return f.wrap(f.redis.HDel(f.ctx, f.prefix+identity, overField).Err())
}
