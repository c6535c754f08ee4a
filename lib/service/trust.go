package service

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// user is one that a file may be owned by, with the group that may write it.
type user struct{ uid, gid int }

func root() user   { return user{0, 0} }
func caller() user { return user{os.Geteuid(), os.Getegid()} }

// checkTrust is the one rule of trust, for all that is read or written: a file or
// a directory is used only if it is owned by one of these users, is not
// world-writable, and is writable for no group but one of theirs. It is asked of
// an open descriptor: what a path leads to may change, what is open does not.
func checkTrust(st *unix.Stat_t, users ...user) error {
	if err := checkWorld(st); err != nil {
		return err
	}
	if !slices.ContainsFunc(users, func(u user) bool { return u.uid == int(st.Uid) }) {
		return fmt.Errorf("owned by uid %d", st.Uid)
	}
	if st.Mode&unix.S_IWGRP != 0 && !slices.ContainsFunc(users, func(u user) bool { return u.gid == int(st.Gid) }) {
		return fmt.Errorf("group-writable by gid %d (mode %04o)", st.Gid, st.Mode&0o7777)
	}
	return nil
}

// checkWorld is the part of the rule that does not depend on the owner.
func checkWorld(st *unix.Stat_t) error {
	if st.Mode&unix.S_IWOTH != 0 {
		return fmt.Errorf("world-writable (mode %04o)", st.Mode&0o7777)
	}
	return nil
}

// checkProcess lets root use a file that names a process only if it is root's, or
// of the user that the process runs as: otherwise anybody could have root signal
// any process. An ordinary user can signal no process but their own.
func checkProcess(st *unix.Stat_t, id proc.ID, s proc.Status) error {
	if !isRoot() {
		return checkWorld(st)
	}
	if err := checkTrust(st, root(), user{s.UID, s.GID}, user{s.EUID, s.EGID}); err != nil {
		return fmt.Errorf("%w, but process %v runs as uid %d, gid %d", err, id, s.UID, s.GID)
	}
	return nil
}

// checkLinkOwners lets root follow the links on the way to a process only if they
// were made by root or by the user that the process runs as: who made them chose
// the process.
func checkLinkOwners(links []link, id proc.ID, s proc.Status) error {
	if !isRoot() {
		return nil
	}
	for _, l := range links {
		if l.uid != 0 && l.uid != s.UID && l.uid != s.EUID {
			return fmt.Errorf("the symbolic link %s is owned by uid %d, but process %v runs as uid %d", l.path, l.uid, id, s.UID)
		}
	}
	return nil
}

// isRoot tells whether the caller is root: the kernel checks nothing for it.
func isRoot() bool { return os.Geteuid() == 0 }

// isSticky tells whether a directory is one such as /tmp, in which only the owner
// of a file can rename or remove it.
func isSticky(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0
}
