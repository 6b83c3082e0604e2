package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// peerUser is the user at the other end of a Unix socket: of a caller when it
// connected, of a server when it began to listen (SO_PEERCRED, unix(7)).
func peerUser(c net.Conn) (int, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("peer credentials of %T: %w", c, errors.ErrUnsupported)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) {
		cred, got = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if got != nil {
		return 0, fmt.Errorf("peer credentials: %w", got)
	}
	return int(cred.Uid), nil
}

// ownerOf is the user that a file belongs to.
func ownerOf(info fs.FileInfo) (int, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("owner of %q: %w", info.Name(), errors.ErrUnsupported)
	}
	return int(st.Uid), nil
}

// nobodyThere reports whether a connection failed since nobody listens.
func nobodyThere(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
