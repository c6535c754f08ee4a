package settings

import (
	"cmp"
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// redisURL refuses at the start what sidekiq-fleet would refuse when a restart
// is due. It reads URLs as lib/fleet does, which would bring a Redis client into
// each program. The value is not quoted, because it may hold a password.
func redisURL(to *string, text string) error {
	if !isRedisURL(text) {
		return errors.New("invalid URL (want redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///PATH; " +
			"in a password write / as %2F, ? as %3F, # as %23, @ as %40, % as %25)")
	}
	*to = text
	return nil
}

func isRedisURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" || strings.Contains(u.RawQuery, "@") {
		return false
	}
	db := u.Query().Get("db")
	switch u.Scheme {
	case "unix", "":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.User != nil && strings.Contains(u.EscapedPath(), "@") {
			return false
		}
	case "redis", "rediss":
		if n, err := strconv.ParseUint(cmp.Or(u.Port(), "6379"), 10, 16); err != nil || n == 0 {
			return false
		}
		db = cmp.Or(strings.Trim(u.Path, "/"), db)
	default:
		return false
	}
	n, err := strconv.Atoi(cmp.Or(db, "0"))
	return err == nil && n >= 0
}
