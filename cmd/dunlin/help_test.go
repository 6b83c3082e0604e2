package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everything is all commands that the root has.
func (a *app) everything() (all []*cobra.Command) {
	for _, t := range a.topics() {
		all = append(all, t.commands...)
	}
	return all
}

// everyCommand gives the commands that people see, the root first.
func everyCommand(t *testing.T) (*app, []topic, []*cobra.Command) {
	t.Helper()
	a := &app{now: time.Now}
	root := &cobra.Command{Use: "dunlin", Args: groupArgs, Run: func(*cobra.Command, []string) {}}
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "what to print: text or json")
	topics := a.topics()
	for _, topic := range topics {
		root.AddCommand(topic.commands...)
	}
	var out []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		out = append(out, c)
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(root)
	return a, topics, out
}

func TestEveryHelpIsWholeAndFitsATerminal(t *testing.T) {
	a, topics, all := everyCommand(t)
	for _, c := range all[1:] {
		var out bytes.Buffer
		a.streams, a.columns = streams{out: &out, err: &out}, 80
		a.help(c, topics)
		if !c.HasExample() {
			t.Errorf("%s has no example", c.CommandPath())
		}
		example := false
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSuffix(line, "\n"); line != "" && line[0] != ' ' {
				example = line == "Examples:"
			}
			if textWidth(line) > 80 && !example && !strings.HasPrefix(line, "  dunlin ") { // which are there to be copied
				t.Errorf("%s --help has %d columns: %q", c.CommandPath(), textWidth(line), line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() != "bool" && !f.Hidden && flagValue(c, f) == "" {
				t.Errorf("%s --%s: help does not say what is written after it", c.CommandPath(), f.Name)
			}
		})
	}
}

// commandsOf gives the words of each call of dunlin in lines for a shell, which have no quotes within words but those around all
// of a value.
func commandsOf(text string) [][]string {
	var all [][]string
	var words []string
	word, open, quote := "", false, rune(0)
	end := func() {
		if open {
			words = append(words, word)
		}
		word, open = "", false
	}
	command := func() {
		end()
		if i := slices.Index(words, "dunlin"); i >= 0 && (i == 0 || words[i-1] == "sudo") {
			all = append(all, words[i+1:])
		}
		words = nil
	}
	comment := false
	for _, r := range strings.ReplaceAll(text, "\\\n", " ") + "\n" {
		switch {
		case comment && r != '\n':
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == '#' && !open:
			comment = true
		case strings.ContainsRune("|&;\n<>", r):
			command()
			comment = comment && r != '\n'
		case r == ' ':
			end()
		default:
			word, open = word+string(r), true
		}
	}
	return all
}

// What stands in examples are commands, flags and arguments that there are.
func TestExamplesOfHelpAreRightCalls(t *testing.T) {
	_, _, names := everyCommand(t)
	calls := 0
	for i := range names {
		for _, words := range commandsOf(names[i].Example) {
			_, _, fresh := everyCommand(t) // flags keep what they are given
			c, rest, err := fresh[0].Find(words)
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil {
				err = c.ValidateArgs(c.Flags().Args())
			}
			if err == nil && isGroup(c) && c.HasParent() {
				err = fmt.Errorf("%s alone does nothing", c.CommandPath())
			}
			if err != nil {
				t.Errorf("%s --help: dunlin %q: %v", names[i].CommandPath(), words, err)
			}
			calls++
		}
	}
	if calls < 130 {
		t.Errorf("only %d calls are found in the examples", calls)
	}
}
