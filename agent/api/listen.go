package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// maxPath is what a socket's address holds, without the final zero byte (unix(7)).
const maxPath = 107

// Listen makes the agent's socket, mode 0600, in a folder that it makes with
// mode 0755 where there is none. A socket that a dead agent left is replaced; one
// that answers is not (ErrInUse), nor is anything of another user (ErrDenied).
// Only Linux has it; elsewhere the error wraps errors.ErrUnsupported.
func Listen(path string) (net.Listener, error) {
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return l, nil
}

func listen(path string) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("not an absolute path")
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("%d bytes are more than the %d that a socket's path may have", len(path), maxPath)
	}
	if err := ownFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Until here others may have connected; Serve looks at each caller.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// ownFolder makes the folder of a socket, and fails where others could replace the socket in it.
func ownFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, err := ownerOf(info)
	if err != nil {
		return err
	}
	if owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("its folder belongs to user %d: %w", owner, ErrDenied)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("its folder has mode %#o, so that others can write to it: %w", info.Mode().Perm(), ErrDenied)
	}
	return nil
}

// clear removes the socket of an agent that is gone.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something else than a socket has this name")
	}
	owner, err := ownerOf(info)
	if err != nil {
		return err
	}
	if owner != os.Geteuid() {
		return fmt.Errorf("the socket there belongs to user %d: %w", owner, ErrDenied)
	}
	c, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		c.Close()
		return ErrInUse
	}
	if !nobodyThere(err) {
		return err
	}
	return os.Remove(path)
}
