package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/child"
	"github.com/dunlin-dev/dunlin/schema/load/codec"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// How the collector goes about a large policy in the child.
const (
	childLarge = 2 << 20 // bytes of a large one: CUE makes little but garbage,
	childGC    = 40      // of which it leaves so much, in percent of what is alive,
	childRoom  = 16      // and more as long as all is less than so many bytes for each of CUE
)

// Command is the hidden command by which a program answers as the child.
const Command = child.Command

// ErrLimit says that an evaluation was stopped at one of the child's limits.
var ErrLimit = child.ErrLimit

// ErrCrash says that an evaluation failed on a policy by an error of its own.
var ErrCrash = child.ErrCrash

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
		var in bytes.Buffer
		if err := t.Write(&in); err != nil {
			return schema.Repo{}, nil, fmt.Errorf("evaluate: %w", err)
		}
		res, err := runChild(ctx, &in, nil)
		if err != nil {
			return schema.Repo{}, nil, fmt.Errorf("evaluate: %w", err)
		}
		return finish(o, fsys, res)
	}
}

// runChild starts the child, hands it the tree and reads its answer. ended, which may be nil, sees what the child has used.
func runChild(ctx context.Context, in io.Reader, ended func(*os.ProcessState)) (*result, error) {
	out, err := child.Ask(ctx, in, ended)
	if err != nil {
		return nil, err
	}
	res, err := decodeResult(out)
	if err != nil {
		return nil, fmt.Errorf("the child's answer: %w", err)
	}
	return res, nil
}

// Main is the child: a tree or a change on in, the result or verdict on out. It gives the exit code.
func Main(o Options, in io.Reader, out io.Writer) int {
	if err := child.Limit(); err != nil {
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
