package main

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A topic is a group of commands of which the help makes a list.
type topic struct {
	title    string
	commands []*cobra.Command
}

// Help is as wide as the terminal, but no wider than people like to read; where there is none it is as wide as most.
const (
	helpWidth   = 100
	helpNoWidth = 80
	flagColumn  = 30 // where what a flag does begins, at most
)

// help shows how a command is used.
func (a *app) help(cmd *cobra.Command, topics []topic) {
	width := a.width()
	if width == 0 {
		width = helpNoWidth
	}
	p := page{bufio.NewWriter(a.out), lookOf(a.out), min(width, helpWidth)}
	defer func() { _ = p.w.Flush() }() // who does not read on needs no help
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	p.prose(about)
	p.title("Usage")
	if !isGroup(cmd) {
		p.w.WriteString("  " + cmd.UseLine() + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		p.w.WriteString("  " + cmd.CommandPath() + " COMMAND\n")
	}
	if cmd.HasExample() {
		p.title("Examples")
		p.w.WriteString(cmd.Example + "\n")
	}
	switch {
	case !cmd.HasParent():
		for _, t := range topics {
			if t.title == "" {
				continue
			}
			p.title(t.title)
			p.commands(t.commands)
		}
	case cmd.HasAvailableSubCommands():
		p.title("Commands")
		p.commands(cmd.Commands())
	}
	p.title("Flags")
	p.flags(cmd)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(p.w, "\n%s COMMAND --help says more of each.\n", cmd.CommandPath())
	}
}

// isGroup reports whether a command does nothing but hold others.
func isGroup(cmd *cobra.Command) bool {
	return cmd.HasSubCommands() && cmd.Use == cmd.Name()
}

func (p page) title(text string) { p.w.WriteString("\n" + p.look.bold(text+":") + "\n") }

// prose lays paragraphs out anew. Lines that are indented stay lines, and of a list what is said of each hangs below itself.
func (p page) prose(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.w.WriteByte('\n')
		}
		var words []string
		flow := func() {
			if len(words) > 0 {
				hang(p.w, "", 0, strings.Join(words, " "), p.width)
				words = nil
			}
		}
		for line := range strings.Lines(paragraph) {
			line = strings.TrimRight(line, "\n")
			indent := len(line) - len(strings.TrimLeft(line, " "))
			head, says, list := strings.Cut(line[indent:], "  ")
			switch {
			case list:
				flow()
				says = strings.TrimLeft(says, " ")
				lead := line[:len(line)-len(says)]
				hang(p.w, lead, len(lead), says, p.width)
			case indent > 0:
				flow()
				p.w.WriteString(line + "\n")
			default:
				words = append(words, head)
			}
		}
		flow()
	}
}

func (p page) commands(all []*cobra.Command) {
	wide := 0
	for _, c := range all {
		if c.IsAvailableCommand() {
			wide = max(wide, len(c.Name()))
		}
	}
	for _, c := range all {
		if c.IsAvailableCommand() {
			hang(p.w, fmt.Sprintf("  %-*s  ", wide, c.Name()), wide+4, c.Short, p.width)
		}
	}
}

// flags lists the flags of a command by name, those of all commands last.
func (p page) flags(cmd *cobra.Command) {
	type row struct{ lead, text string }
	var rows []row
	wide := 0
	add := func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		lead := "      --" + f.Name
		if f.Shorthand != "" {
			lead = "  -" + f.Shorthand + ", --" + f.Name
		}
		if v := flagValue(cmd, f); v != "" {
			lead += " " + v
		}
		text := f.Usage
		switch f.Name {
		case "help":
			text = "show this"
		case "version":
			if f.Value.Type() == "bool" {
				text = "show the version"
			}
		}
		if repeats(f) && !strings.Contains(text, "repeat") {
			text += "; may be given more than once"
		}
		switch f.DefValue {
		case "", "false", "0", "[]":
		default:
			text += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		if n := len(lead); n <= flagColumn-2 {
			wide = max(wide, n)
		}
		rows = append(rows, row{lead, text})
	}
	cmd.InitDefaultHelpFlag()
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	at := wide + 2
	for _, r := range rows {
		if len(r.lead) > wide { // too long to stand beside the others
			p.w.WriteString(r.lead + "\n")
			r.lead = ""
		}
		hang(p.w, fmt.Sprintf("%-*s", at, r.lead), at, r.text, p.width)
	}
}

// repeats reports whether a flag may be given more than once.
func repeats(f *pflag.Flag) bool {
	return slices.Contains([]string{"stringArray", "stringSlice"}, f.Value.Type())
}

// flagValue is what people write after a flag, the same for the same flag of all commands.
func flagValue(cmd *cobra.Command, f *pflag.Flag) string {
	if f.Value.Type() == "bool" {
		return ""
	}
	if v, ok := map[string]string{
		"dunlin join repo": "URL", "dunlin import ssm-document out": "DIR", "dunlin import ssm-baseline out": "DIR", "dunlin import ssm-window out": "DIR",
		"dunlin trust anchor from": "COMMIT", "dunlin trust can session": "KIND", "dunlin new public-key": "KEY|FILE", "dunlin reconcile node": "NODE",
		"dunlin approve base": "REV", "dunlin validate format": "FORMAT", "dunlin schema export format": "FORMAT",
	}[cmd.CommandPath()+" "+f.Name]; ok {
		return v
	}
	return map[string]string{
		"activation": "ID", "allowed-pattern": "REGEXP", "anchor": "COMMIT", "at": "INSTANT", "base": "REV", "baseline": "NAME", "branch": "BRANCH", "by": "NAME",
		"ca-file": "FILE", "code-file": "FILE", "config": "FILE", "count": "N", "credential-file": "FILE", "description": "TEXT", "document": "NAME",
		"dunlin-version": "VERSION", "duration": "DURATION", "every": "DURATION", "expires": "DURATION", "facts": "FILE", "forge": "FORGE", "format": "FORMAT",
		"from": "INSTANT", "identity": "FILE", "key": "FILE", "known-hosts": "FILE", "label": "LABEL", "limit": "N", "max-concurrency": "N|N%", "name": "NAME",
		"network": "NETWORK", "no-change-notify-after": "DURATION", "node": "NODE", "nodes": "N", "notify-before": "DURATION", "offset": "DAYS", "os": "OS",
		"out": "FILE", "output": "FORMAT", "param": "NAME=VALUE", "peer": "HOST:PORT", "policies": "PACKAGE", "policy": "DIR", "port": "PORT", "proof": "FILE",
		"public-key": "KEY", "remote": "REMOTE", "repo": "DIR", "rev": "REV", "role": "ROLE", "run-as": "USER", "session": "KIND", "signer": "NAME",
		"socket": "PATH", "start": "INSTANT", "state": "DIR", "status": "STATUS", "tags": "KEY=VALUE", "target": "TARGET", "type": "TYPE", "tz": "ZONE",
		"url": "URL", "value-file": "FILE", "version": "VERSION", "who": "NAME",
	}[f.Name]
}

// groupArgs refuses a word after a command that holds others, which is meant as one of them.
func groupArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	near := didYouMean(args[0], names)
	if near == "" {
		near = "; there are " + listed(names, len(names))
		if len(names) == 1 {
			near = "; there is " + names[0]
		}
	}
	return usageError{fmt.Errorf("unknown command %q of %s%s", args[0], cmd.CommandPath(), near)}
}
