// Package child starts this program once more, with limits on memory, processor and time, hands it a question, and gives its
// answer. What CUE costs has no limit of its own, so the evaluation runs where it can be ended.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Limits of the child.
const (
	maxData      = 512 << 20 // bytes of memory that it may write to
	maxHeap      = 400 << 20 // bytes at which its collector works harder
	maxCPU       = 15        // seconds
	maxWall      = 30 * time.Second
	maxOutput    = 128 << 20 // bytes of its answer
	maxComplaint = 64 << 10
)

// Command is the hidden command by which a program answers as the child.
const Command = "internal-evaluate"

// ErrLimit says that an evaluation was stopped at one of the child's limits.
var ErrLimit = errors.New("the policy needs more than an evaluation may use")

// ErrCrash says that an evaluation failed on a policy by an error of its own.
var ErrCrash = errors.New("the evaluator fails on this policy, which is an error of its own")

// Ask starts this program, called with Command, hands it a question and gives its answer as it came. The child has no
// environment of its parent's, no files, no network where the system allows to take it away; it dies with its parent.
// ended, which may be nil, sees what the child has used. An error that the question causes wraps ErrLimit or ErrCrash.
func Ask(ctx context.Context, in io.Reader, ended func(*os.ProcessState)) ([]byte, error) {
	self, err := Program()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	timeout, cancel := context.WithTimeoutCause(ctx, maxWall, fmt.Errorf("%w: it took longer than %v", ErrLimit, maxWall))
	defer cancel()
	out := &bounded{limit: maxOutput}
	complaint := &bounded{limit: maxComplaint}
	cmd, err := start(func() *exec.Cmd {
		cmd := exec.CommandContext(timeout, self, Command)
		cmd.Args[0] = os.Args[0] // a test binary looks at the name that it was called by
		cmd.Env = append(raceDetector(), fmt.Sprintf("GOMEMLIMIT=%d", maxHeap), "GOTRACEBACK=none", "CUE_REGISTRY=none")
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
		ended(cmd.ProcessState)
	}
	switch {
	case timeout.Err() != nil:
		return nil, context.Cause(timeout)
	case out.over:
		return nil, fmt.Errorf("%w: its result has more than %d MiB", ErrLimit, maxOutput>>20)
	case err != nil:
		return nil, problem(err, cmd, complaint.String())
	}
	return out.Bytes(), nil
}

// problem names the limit that ended the child, as far as that can be told.
func problem(err error, cmd *exec.Cmd, complaint string) error {
	if cmd.ProcessState == nil {
		return err
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	switch {
	case killedByCPU(cmd.ProcessState) || cpu >= maxCPU*time.Second-time.Second/2:
		return fmt.Errorf("%w: more than %d s of processor time", ErrLimit, maxCPU)
	case strings.Contains(complaint, "out of memory"), strings.Contains(complaint, "cannot allocate memory"), strings.Contains(complaint, "failed to allocate"),
		strings.Contains(complaint, "failed to create new OS thread"), strings.Contains(complaint, "pthread_create failed"):
		return fmt.Errorf("%w: more than %d MiB of memory", ErrLimit, maxData>>20)
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
