package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary answer as the child that Ask starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Command {
		os.Exit(answer())
	}
	os.Exit(m.Run())
}

func answer() int {
	if err := Limit(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	question, _ := io.ReadAll(os.Stdin)
	switch string(question) {
	case "environment":
		fmt.Print(strings.Join(os.Environ(), "\n"))
	case "memory":
		keep := make([][]byte, 0, 64)
		for range cap(keep) {
			keep = append(keep, bytes.Repeat([]byte{1}, 16<<20))
		}
		fmt.Print(len(keep))
	case "panic":
		panic("nobody foresaw this")
	case "stack":
		var deep func(int) int
		deep = func(n int) int { return 1 + deep(n+1) }
		fmt.Print(deep(0))
	case "file":
		if err := os.WriteFile(os.TempDir()+"/dunlin-child", []byte("x"), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	case "refuse":
		fmt.Fprintln(os.Stderr, "this cannot be\nmore of it")
		return 3
	default:
		fmt.Print("heard " + string(question))
	}
	return 0
}

func TestAsk(t *testing.T) {
	t.Setenv("DUNLIN_OF_THE_PARENT", "secret")
	for _, tt := range []struct {
		question, want string
		is             error
		says           string
	}{
		{question: "hello", want: "heard hello"},
		{question: "memory", is: ErrLimit, says: "MiB of memory"},
		{question: "panic", is: ErrCrash, says: "nobody foresaw this"},
		{question: "stack", is: ErrLimit, says: "may use"}, // with the race detector it is memory that ends first
		{question: "refuse", says: `the child ended: exit status 3: "this cannot be"`},
	} {
		var used *os.ProcessState
		got, err := Ask(t.Context(), strings.NewReader(tt.question), func(s *os.ProcessState) { used = s })
		failed := tt.says != ""
		if string(got) != tt.want || (err != nil) != failed || tt.is != nil && !errors.Is(err, tt.is) || failed && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Ask(%q) = %q, %v, want %q, %q", tt.question, got, err, tt.want, tt.says)
		}
		if used == nil {
			t.Errorf("Ask(%q) does not say what it used", tt.question)
		}
	}
	env, err := Ask(t.Context(), strings.NewReader("environment"), nil)
	if err != nil || strings.Contains(string(env), "DUNLIN_OF_THE_PARENT") {
		t.Errorf("the child's environment is %q, %v", env, err)
	}
	if _, err := Ask(t.Context(), strings.NewReader("file"), nil); err == nil {
		t.Error("the child writes a file")
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe() // never says anything, so that the child waits
	defer w.Close()
	cancel()
	if _, err := Ask(ctx, r, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Ask = %v, want %v", err, context.Canceled)
	}
}

func TestBoundedKeepsTheFirst(t *testing.T) {
	b := &bounded{limit: 4}
	for _, part := range []string{"ab", "cd", "ef"} {
		if n, err := b.Write([]byte(part)); n != 2 || err != nil {
			t.Errorf("Write(%q) = %d, %v", part, n, err)
		}
	}
	if b.String() != "abcd" || !b.over {
		t.Errorf("kept %q, over %v", b.String(), b.over)
	}
}
