// Command recording runs a command and draws what it prints as one animated SVG,
// for a page that may show pictures and no scripts:
//
//	recording -o docs/demo.svg [-title T] [-columns N] [-rows N] COMMAND [ARGUMENT...]
//
// The output is the command's own, line by line, in the colours that it asks
// for. Only the time between lines is another: pauses are cut short, and after a
// blank line there is time to read. Who wants no motion sees the last screen.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "recording: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("recording", flag.ContinueOnError)
	out := flags.String("o", "", "the SVG to write")
	title := flags.String("title", "", "what stands above the screen (default the command)")
	columns := flags.Int("columns", 80, "characters a line")
	rows := flags.Int("rows", 32, "lines of the screen")
	if err := flags.Parse(args); err != nil {
		return err
	}
	command := flags.Args()
	if *out == "" || len(command) == 0 || *columns < 20 || *rows < 5 {
		return errors.New("usage: recording -o FILE.svg [-columns N] [-rows N] COMMAND [ARGUMENT...]")
	}
	lines, err := watch(ctx, command)
	if err != nil {
		return err
	}
	name := strings.Join(append([]string{filepath.Base(command[0])}, command[1:]...), " ")
	if *title == "" {
		*title = name
	}
	s := screen{title: *title, columns: *columns, rows: *rows}
	s.lines = append([]line{{text: "\x1b[32m$\x1b[0m \x1b[1m" + name + "\x1b[0m"}}, lines...)
	var b bytes.Buffer
	s.draw(&b)
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(*out, b.Bytes(), 0o644)
}

// line is what was printed, and when.
type line struct {
	text string
	at   time.Duration // since the start
}

// maxLines bounds a recording: nobody watches a longer one.
const maxLines = 500

// watch runs the command, with colours, and gives its lines.
func watch(ctx context.Context, command []string) (lines []line, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it tidies up
	cmd.WaitDelay = 10 * time.Second
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "NO_COLOR" && name != "CLICOLOR_FORCE" && name != "LC_ALL" && name != "TERM" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "CLICOLOR_FORCE=1", "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if lines = append(lines, line{in.Text(), time.Since(begun)}); len(lines) > maxLines {
			cancel()
			err = fmt.Errorf("more than %d lines", maxLines)
			break
		}
	}
	_, _ = io.Copy(io.Discard, out)
	if wait := cmd.Wait(); err == nil && wait != nil {
		err = fmt.Errorf("%s: %w", command[0], wait)
	}
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("%s printed nothing", command[0])
	}
	return lines, err
}
