package agent

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// The service manager takes each line for an assignment: a text from outside must not make one.
func TestTheStatusForTheServiceManagerIsOneLine(t *testing.T) {
	a := &Agent{}
	a.problems = map[string]string{"fight": "file:/srv/x\nMAINPID=1\nWATCHDOG=trigger: nft (pid 7 of x\r\xff) changes it back"}
	got := a.statusText()
	if strings.ContainsAny(got, "\n\r\x00") || !utf8.ValidString(got) || !strings.Contains(got, "MAINPID=1") {
		t.Errorf("status %q", got)
	}
}
