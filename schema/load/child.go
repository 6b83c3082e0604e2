package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/codec"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// Limits of the child that evaluates.
const (
	childData   = 512 << 20 // bytes of memory that it may write to
	childHeap   = 400 << 20 // bytes at which its collector works harder
	childLarge  = 2 << 20   // bytes of a large policy, whose collector goes another pace:
	childGC     = 40        // it leaves so much garbage, in percent of what is alive, since CUE makes little else,
	childRoom   = 16        // and more as long as all is less than so many bytes for each of CUE
	childCPU    = 15        // seconds
	childWall   = 30 * time.Second
	childOutput = 128 << 20 // bytes of its answer
	childStderr = 64 << 10
)

// Command is the hidden command by which a program answers as the child.
const Command = "internal-evaluate"

// ErrLimit says that an evaluation was stopped at one of the child's limits.
var ErrLimit = errors.New("the policy needs more than an evaluation may use")

// ErrCrash says that an evaluation failed on a policy by an error of its own.
var ErrCrash = errors.New("the evaluator fails on this policy, which is an error of its own")

// Child evaluates in a process of its own: this program, called with Command,
// which must answer with Main and the same options. The child has no
// environment, no files but the tree, no network where the system allows to take
// it away, and limits on memory, processor and time. It dies with its parent.
// Of the options Warn is used here; the child has its own.
func Child(o Options) Func {
	return func(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error) {
		t, err := tree.Read(fsys)
		if err != nil {
			return schema.Repo{}, nil, err
		}
		self, err := thisProgram()
		if err != nil {
			return schema.Repo{}, nil, fmt.Errorf("evaluate: find this program: %w", err)
		}
		var in bytes.Buffer
		if err := t.Write(&in); err != nil {
			return schema.Repo{}, nil, fmt.Errorf("evaluate: %w", err)
		}
		res, err := runChild(ctx, self, &in, nil)
		if err != nil {
			return schema.Repo{}, nil, fmt.Errorf("evaluate: %w", err)
		}
		return finish(o, fsys, res)
	}
}

// runChild starts the child, hands it the tree and reads its answer. ended, which may be nil, sees what the child has used.
func runChild(ctx context.Context, self string, in io.Reader, ended func(*exec.Cmd)) (*result, error) {
	out, err := askChild(ctx, self, in, ended)
	if err != nil {
		return nil, err
	}
	res, err := decodeResult(out)
	if err != nil {
		return nil, fmt.Errorf("the child's answer: %w", err)
	}
	return res, nil
}

// askChild starts the child, hands it a question and gives its answer as it came.
func askChild(ctx context.Context, self string, in io.Reader, ended func(*exec.Cmd)) ([]byte, error) {
	timeout, cancel := context.WithTimeoutCause(ctx, childWall, fmt.Errorf("%w: it took longer than %v", ErrLimit, childWall))
	defer cancel()
	out := &bounded{limit: childOutput}
	complaint := &bounded{limit: childStderr}
	cmd, err := startChild(func() *exec.Cmd {
		cmd := exec.CommandContext(timeout, self, Command)
		cmd.Args[0] = os.Args[0] // a test binary looks at the name that it was called by
		cmd.Env = append(childRace(), fmt.Sprintf("GOMEMLIMIT=%d", childHeap), "GOTRACEBACK=none", "CUE_REGISTRY=none")
		cmd.Dir = string(os.PathSeparator)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, complaint
		cmd.WaitDelay = 2 * time.Second
		return cmd
	})
	if err != nil {
		return nil, fmt.Errorf("start %q: %w", self, err)
	}
	err = cmd.Wait()
	if ended != nil {
		ended(cmd)
	}
	switch {
	case timeout.Err() != nil:
		return nil, context.Cause(timeout)
	case out.over:
		return nil, fmt.Errorf("%w: its result has more than %d MiB", ErrLimit, childOutput>>20)
	case err != nil:
		return nil, childError(err, cmd, complaint.String())
	}
	return out.Bytes(), nil
}

// childError names the limit that ended the child, as far as that can be told.
func childError(err error, cmd *exec.Cmd, complaint string) error {
	if cmd.ProcessState == nil {
		return err
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	switch {
	case killedByCPU(cmd.ProcessState) || cpu >= childCPU*time.Second-time.Second/2:
		return fmt.Errorf("%w: more than %d s of processor time", ErrLimit, childCPU)
	case strings.Contains(complaint, "out of memory"), strings.Contains(complaint, "cannot allocate memory"), strings.Contains(complaint, "failed to allocate"),
		strings.Contains(complaint, "failed to create new OS thread"), strings.Contains(complaint, "pthread_create failed"):
		return fmt.Errorf("%w: more than %d MiB of memory", ErrLimit, childData>>20)
	case strings.Contains(complaint, "stack exceeds"), strings.Contains(complaint, "stack overflow"):
		return fmt.Errorf("%w: it is nested too deeply", ErrLimit)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(complaint), "\n")
	if len(first) > 200 {
		first = first[:200]
	}
	switch {
	case first == "":
		return fmt.Errorf("the child ended: %w", err)
	case strings.HasPrefix(first, "panic: "), strings.HasPrefix(first, "fatal error: "), strings.HasPrefix(first, "runtime: "):
		return fmt.Errorf("%w: %q", ErrCrash, first)
	}
	return fmt.Errorf("the child ended: %w: %q", err, first)
}

// bounded keeps the first bytes written to it, and knows whether there were more.
type bounded struct {
	bytes.Buffer
	limit int
	over  bool
}

// Write never fails, so that a child that says too much still ends.
func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); len(p) > room {
		b.over = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// Main is the child: a tree or a change on in, the result or verdict on out. It gives the exit code.
func Main(o Options, in io.Reader, out io.Writer) int {
	if err := limitSelf(); err != nil {
		fmt.Fprintln(os.Stderr, "limit this process:", err)
		return 1
	}
	from := bufio.NewReaderSize(in, 64<<10)
	if magic, err := from.Peek(len(changeMagic)); err == nil && string(magic) == changeMagic {
		return mainOfChange(o, from, out)
	}
	t, err := tree.ReadArchive(from)
	if err == nil {
		size, cue := 0, 0
		for name, b := range t.Content {
			size += len(b)
			if strings.HasSuffix(name, ".cue") {
				cue += len(b)
			}
		}
		if size >= childLarge {
			o.pacer = &pacer{room: uint64(cue) * childRoom}
		}
		var res *result
		if res, err = evaluate(context.Background(), o, t); err == nil {
			err = encodeResult(out, res)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mainOfChange is the child that judges a part of a repository.
func mainOfChange(o Options, in io.Reader, out io.Writer) int {
	c, err := readChange(in)
	if err == nil {
		var v *verdict
		if v, err = judgeChange(context.Background(), o, c); err == nil {
			_, err = out.Write(encodeAs(verdictMagic, *v))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// resultMagic is what an answer of the child begins with.
const resultMagic = "dunlin result 1\n"

func encodeResult(w io.Writer, res *result) error {
	return codec.Write(w, append([]byte(resultMagic), codec.Types[cached]()...), cached(*res))
}

func decodeResult(b []byte) (*result, error) {
	c, err := decodeAs[cached](resultMagic, b)
	if err != nil {
		return nil, err
	}
	for _, s := range c.Sources {
		if !fs.ValidPath(s) {
			return nil, fmt.Errorf("%q is not a path", s)
		}
	}
	res := result(*c)
	return &res, nil
}
