package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

// OutputLimit is how much of each output stream of a child is kept, in bytes: the last of it.
const OutputLimit = 1 << 20

// DefaultGrace is how long a child may take to end after it was asked to.
const DefaultGrace = 5 * time.Second

// searchPath is where programs are looked for, and the children's PATH.
const searchPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// Command is a child process to run.
type Command struct {
	// Path is a name, looked for in the fixed PATH, or an absolute path. The program and
	// all folders above it must belong to root (or to who runs this) and be writable by nobody else.
	Path string
	// Args are the arguments after the program's name. No shell sees them.
	Args []string
	// Env is added to the clean environment (PATH, LC_ALL=C.UTF-8, HOME=/root): "KEY=value".
	Env []string
	// Dir is the working folder; empty means "/".
	Dir string
	// Stdin is what the child reads; nil means /dev/null.
	Stdin []byte
	// Watch, where set, receives standard output as it comes. It must not block for long; its errors are ignored.
	Watch io.Writer
	// Timeout ends the child; 0 means that only the context does.
	Timeout time.Duration
	// Grace is the time between SIGTERM and SIGKILL to the process group, and how long output is
	// waited for that a grandchild holds open after the child ended; 0 means DefaultGrace.
	Grace time.Duration
}

// Output is what came of a child that ended by itself.
type Output struct {
	Stdout, Stderr []byte // the last OutputLimit bytes of each
	Truncated      bool   // something was cut from the front of one of them
	ExitCode       int    // -1 if it did not end by itself
}

// Err is nil for exit code 0, else an error that names the command, the code and the last words on standard error.
func (o Output) Err(c Command) error {
	if o.ExitCode == 0 {
		return nil
	}
	said := lastLine(o.Stderr)
	if said == "" {
		said = lastLine(o.Stdout)
	}
	if said == "" {
		return fmt.Errorf("run %q: exit code %d", c.Path, o.ExitCode)
	}
	return fmt.Errorf("run %q: exit code %d: %s", c.Path, o.ExitCode, said)
}

// ErrNoProgram says that the program is not on this host.
var ErrNoProgram = errors.New("no such program on this host")

// Run starts a child in its own process group, with a clean environment, and waits for it.
//
// When ctx or the timeout ends, the group gets SIGTERM and, after the grace, SIGKILL. A child
// that left the group by itself (a daemon) is not pursued.
//
// The error is nil whenever the child ended by itself, whatever its exit code: ask Output.Err.
// It wraps ErrNoProgram if there is no such program, context.DeadlineExceeded after the timeout and
// the context's error after a cancellation; what was said until then is in Output.
func Run(ctx context.Context, c Command) (Output, error) {
	if strings.ContainsRune(c.Path, 0) || c.Path == "" {
		return Output{ExitCode: -1}, fmt.Errorf("run %q: not a program's name", c.Path)
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return Output{ExitCode: -1}, fmt.Errorf("run %q: %w", c.Path, err)
	}
	return run(ctx, c)
}

// lastLine is the last line of b that is not empty, printable and at most 300 bytes long.
func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		b = b[i+1:]
	}
	// The mark where it is cut tells who takes secrets out that half of one may stand before it.
	return safe.Clip(safe.Words(string(b), 64<<10), 300)
}

// tail keeps the last OutputLimit bytes written to it.
type tail struct {
	buf   []byte
	cut   bool
	watch io.Writer
}

func (t *tail) Write(p []byte) (int, error) {
	if t.watch != nil {
		t.watch.Write(p)
	}
	n := len(p)
	if len(p) > OutputLimit {
		p, t.cut = p[len(p)-OutputLimit:], true
	}
	// Let it grow to twice the limit before moving the end to the front: each byte moves once.
	if len(t.buf)+len(p) > 2*OutputLimit {
		keep := min(len(t.buf), OutputLimit)
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-keep:]...)
		t.cut = true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tail) bytes() []byte {
	if len(t.buf) > OutputLimit {
		t.cut = true
		return t.buf[len(t.buf)-OutputLimit:]
	}
	return t.buf
}
