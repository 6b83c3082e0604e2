package host

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

func TestWhoChangesAFileIsTold(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/etc", 0o755))
	put(t, dir+"/etc/motd", "old", 0o644)
	l := watchOf(t, System{Root: dir}, Watched{Files: []string{"/etc/motd", "/etc/late/motd"}})
	for _, tt := range []struct{ name, command, file string }{
		{"written", `echo new >"$1"`, "/etc/motd"},
		{"replaced", `echo new >"$1.tmp"; exec mv "$1.tmp" "$1"`, "/etc/motd"},
		{"mode changed", `exec chmod 0600 "$1"`, "/etc/motd"},
		{"removed", `exec rm "$1"`, "/etc/motd"},
		{"in a folder that was made", `mkdir "${1%/*}"; while ! [ -e "$1.seen" ]; do :; done; echo x >"$1"`, "/etc/late/motd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l.t = t
			// It lives until it is waited for, as a program that goes on does.
			cmd := exec.Command("sh", "-c", tt.command, "sh", dir+tt.file)
			must(t, cmd.Start())
			if tt.file != "/etc/motd" {
				l.hears(driftFiles + tt.file)
				put(t, dir+tt.file+".seen", "", 0o644)
			}
			who := ""
			for who == "" {
				who = l.hears(driftFiles + tt.file)[driftFiles+tt.file]
			}
			must(t, cmd.Wait())
			want := regexp.MustCompile(fmt.Sprintf(`^[a-z]+ \(pid %d( of \S+)?\)$`, cmd.Process.Pid))
			if !want.MatchString(who) {
				t.Errorf("changed by %q, want process %d", who, cmd.Process.Pid)
			}
		})
	}
	// What this program does is nobody else's.
	put(t, dir+"/etc/motd", "ours", 0o644)
	if who := l.hears(driftFiles + "/etc/motd")[driftFiles+"/etc/motd"]; who != "" {
		t.Errorf("our own change is told as that of %q", who)
	}
}

func TestEventsThatAreNotWholeAreLeftOut(t *testing.T) {
	w := &fileWho{tell: func(d Drift) { t.Errorf("told %v", d) }, folders: map[string]map[string]string{"": {"": "file:x"}}}
	for _, b := range [][]byte{nil, make([]byte, 23), make([]byte, 24), {255, 0, 0, 0, 3, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, {25, 0, 0, 0, 3, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2}} {
		w.heard(b)
	}
	for _, b := range [][]byte{{2, 0, 0, 0}, {2, 0, 8, 0, 1, 1, 1, 1}, append([]byte{2, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}, make([]byte, 8)...)} {
		if got := w.named(b); got != "" {
			t.Errorf("named(%v) = %q", b, got)
		}
	}
}
