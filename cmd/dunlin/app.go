package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// Exit codes, as LANGUAGE says. 128+signal is the shell's.
const (
	exitDone         = 0
	exitError        = 1
	exitUsage        = 2
	exitFaults       = 3
	exitNotTrusted   = 4
	exitUnreachable  = 5
	exitDifferences  = 6
	exitNonCompliant = 7
	exitInterrupted  = 130
)

// streams are the three standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what all commands share.
type app struct {
	streams
	output  string // text or json
	now     func() time.Time
	columns int    // of the terminal; 0 asks it
	notes   []note // that wait until the command ends
	// evaluate reads a policy repository; nil does so in a child.
	evaluate load.Func
}

// evaluator reads policies, in a child unless a test says otherwise.
func (a *app) evaluator() load.Func {
	if a.evaluate != nil {
		return a.evaluate
	}
	return load.Child(loadOptions())
}

// A note is what a person should know beside the result, or the error.
type note struct {
	Text string `json:"warning"`
	Hint string `json:"hint,omitempty"`
}

// note says something on standard error. For programs it waits until the command ends: it becomes a part of the error, or an
// object of its own on a line.
func (a *app) note(text, hint string) {
	if a.json() {
		a.notes = append(a.notes, note{strings.TrimPrefix(text, "warning: "), hint})
		return
	}
	fmt.Fprintf(a.err, "dunlin: %s\n", printable(text))
	if hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", printable(hint))
	}
}

// tell is note for a line that says itself what it is of, as a fault does.
func (a *app) tell(line string) {
	if a.json() {
		a.note(line, "")
		return
	}
	fmt.Fprintln(a.err, printable(line))
}

// flush writes the notes that wait.
func (a *app) flush() {
	for _, n := range a.notes {
		a.jsonLine(n)
	}
	a.notes = nil
}

// jsonLine writes texts and numbers, which can always be encoded, to standard error.
func (a *app) jsonLine(v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	_, _ = a.err.Write(safe.JSON(b.Bytes()))
}

// json reports whether results are to be one JSON value on standard output.
func (a *app) json() bool { return a.output == "json" }

func (a *app) checkOutput() error {
	if a.output != "text" && a.output != "json" {
		return usageError{fmt.Errorf("--output %q is not text or json", a.output)}
	}
	return nil
}

// printJSON writes v, indented, with a newline; `<` and `&` stay as they are.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if _, err := a.out.Write(safe.JSON(b.Bytes())); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// usageError is a wrong call: exit code 2, with a pointer to --help.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// isUsage reports whether the call was wrong; the command parser says some of it in words alone.
func isUsage(err error) bool {
	if err == nil {
		return false
	}
	var u usageError
	return errors.As(err, &u) || strings.HasPrefix(err.Error(), "required flag")
}

// exitWith ends the program with a code. A nil err says nothing more: the
// result has been printed. hint is a remedy, or empty.
type exitWith struct {
	code int
	err  error
	hint string
}

func (e exitWith) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}
func (e exitWith) Unwrap() error { return e.err }

// noArgs and exactArgs are cobra's, as usage errors.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 0 && cmd.HasSubCommands():
		return usageError{fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])}
	case len(args) > 0:
		return usageError{fmt.Errorf("%s takes flags only, and not %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

// needsCommand is what a command does that is nothing without another: it shows them, to a program as an error.
func (a *app) needsCommand(cmd *cobra.Command, _ []string) error {
	if !a.json() {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	return usageError{fmt.Errorf("%s needs one of %s after it", cmd.CommandPath(), strings.Join(names, ", "))}
}

// wrongCount says how a command is called that was given too many or too few arguments.
func wrongCount(cmd *cobra.Command, args []string) error {
	n := fmt.Sprintf("%d arguments are", len(args))
	switch len(args) {
	case 0:
		n = "no argument is"
	case 1:
		n = "one argument is"
	}
	return usageError{fmt.Errorf("%s given; write: %s", n, cmd.UseLine())}
}

func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return wrongCount(cmd, args)
		}
		return nil
	}
}

func maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return wrongCount(cmd, args)
		}
		return nil
	}
}

// exit prints err as people or programs want it and gives the exit code. called is the command that it is of.
func (a *app) exit(ctx context.Context, called string, err error) int {
	if err == nil {
		a.flush()
		return exitDone
	}
	code, hint := exitError, ""
	var e exitWith
	switch {
	case errors.As(err, &e):
		code, hint = e.code, e.hint
		if e.err == nil {
			a.flush()
			return code
		}
	case isUsage(err):
		code, hint = exitUsage, called+" --help shows how it is used"
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		code = exitInterrupted
	}
	text := err.Error()
	if a.json() {
		a.jsonLine(struct {
			Error    string `json:"error"`
			Hint     string `json:"hint,omitempty"`
			Exit     int    `json:"exit"`
			Warnings []note `json:"warnings,omitempty"`
		}{text, hint, code, a.notes})
		return code
	}
	// An error may have several lines, and quote what came from outside.
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	fmt.Fprintf(a.err, "dunlin: %s\n", strings.Join(lines, "\n"))
	if hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", hint)
	}
	return code
}
