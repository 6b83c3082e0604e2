package main

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestAnErrorDoesNotSpeakToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	a := &app{streams: streams{err: &out}, output: "text"}
	a.exit(context.Background(), "dunlin", errors.New("stat /x\x1b[31m\u061c\nsecond line"))
	if got, want := out.String(), "dunlin: stat /x\\u{1b}[31m\\u{61c}\nsecond line\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
