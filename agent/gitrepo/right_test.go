package gitrepo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Real servers of Git are asked, over both ways, as a host's doctor does; nothing of them may change.
func TestWhetherACredentialMayPush(t *testing.T) {
	bare, work := origin(t)
	c := push(t, bare, work, map[string]string{"a": "1"})
	web, srv := smart(t, bare)
	shell, _ := overSSH(t, bare)
	hook := filepath.Join(bare, "hooks", "pre-receive")
	after := filepath.Join(bare, "ran")
	if err := os.WriteFile(filepath.Join(bare, "hooks", "post-receive"), []byte("#!/bin/sh\ntouch "+after+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Remote{"https": web, "ssh": shell} {
		t.Run(name, func(t *testing.T) {
			ask := func(what string, want Right, says string) {
				t.Helper()
				got, err := MayPush(context.Background(), r)
				if err != nil || got.May != want.May || got.Sure != want.Sure || !strings.Contains(got.Says, says) {
					t.Errorf("%s: MayPush = %+v, %v; want %+v, %q", what, got, err, want, says)
				}
			}
			ask("nothing forbids it", Right{May: true, Sure: true}, "")
			if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			ask("a hook refuses, as protected branches do", Right{Sure: true}, "declined")
			if err := os.Remove(hook); err != nil {
				t.Fatal(err)
			}
			if name == "https" {
				run(t, bare, "config", "http.receivepack", "false")
				ask("the credential reads only", Right{Sure: true}, "access refused")
				run(t, bare, "config", "http.receivepack", "true")
			}
			if got := strings.TrimSpace(run(t, bare, "rev-parse", "main")); got != c {
				t.Errorf("asking moved the branch to %s", got)
			}
			if n := strings.Count(run(t, bare, "for-each-ref"), "\n"); n > 1 {
				t.Errorf("asking left %d references", n)
			}
			if _, err := os.Lstat(after); err == nil {
				t.Error("asking ran a hook that follows a push")
			}
			if name == "https" {
				r.CredentialFile = file(t, []byte("u:wrong"), 0o600)
				ask("another credential", Right{Sure: true}, "401")
			}
			r.Branch = "other"
			if _, err := MayPush(context.Background(), r); name == "ssh" && !errors.Is(err, ErrNoBranch) {
				t.Errorf("a branch that is not there: %v", err)
			}
		})
	}
	srv.Close()
	if _, err := MayPush(context.Background(), web); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	if got, err := MayPush(context.Background(), Remote{URL: bare, Branch: "main"}); err != nil || got.Sure {
		t.Errorf("a folder: %+v, %v", got, err)
	}
}

func TestVerdictsOfServers(t *testing.T) {
	for says, want := range map[string]Right{
		"ok":                       {May: true, Sure: true},
		"failed to update ref":     {May: true, Sure: true},
		"reference already exists": {May: true, Sure: true},
		"cannot lock ref 'refs/heads/main': is at 1 but 0":      {May: true, Sure: true},
		"pre-receive hook declined":                             {Sure: true},
		"protected branch hook declined":                        {Sure: true},
		"push declined due to repository rule violations":       {Sure: true},
		"You are not allowed to push code to protected branch.": {Sure: true},
		"TF401027: You need the Git permission":                 {Sure: true},
		"deny updating: reference already exists, not allowed":  {Sure: true},
		"internal error": {},
	} {
		if got := rightOf(says); got.May != want.May || got.Sure != want.Sure {
			t.Errorf("%q is understood as %+v", says, got)
		}
	}
}
