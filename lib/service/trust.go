package service

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gracekit/lib/proc"
)

// owner judges an open file or directory: nobody else may have been able to
// write it. It returns the user it belongs to, for checkOwner.
func owner(fd int, st *unix.Stat_t) (uid int, err error) {
	if err := unix.Fstat(fd, st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IWOTH != 0 {
		return 0, fmt.Errorf("everybody may write it (mode %04o)", st.Mode&0o7777)
	}
	return int(st.Uid), nil
}

// checkOwner lets root believe only root, and the user that the process runs as:
// otherwise anybody could have root signal whom they want.
func checkOwner(uid int, p *proc.Process) error {
	if os.Geteuid() != 0 || uid == 0 {
		return nil
	}
	s, err := p.Status()
	if err != nil {
		return err
	}
	if uid != s.UID && uid != s.EUID {
		return fmt.Errorf("it belongs to user %d, but the process %v to user %d", uid, p.ID, s.UID)
	}
	return nil
}
