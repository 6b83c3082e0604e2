package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/schema"
)

// useless is a key of the form of age's to which nothing can be encrypted: the point 0.
const useless = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z"

// spoil gives the roster another age key for a node.
func (l *paramLab) spoil(state, key string) {
	l.t.Helper()
	k, err := identity.Open(state)
	if err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join("nodes", k.ID()[:2]+".jsonl")
	text := l.file(path)
	spoilt := strings.ReplaceAll(text, k.Age, key)
	if spoilt == text {
		l.t.Fatalf("%s has no key %s", path, k.Age)
	}
	l.write(filepath.Join(l.dir, path), spoilt)
}

func TestAKeyInTheRosterThatDoesNotWorkIsAFault(t *testing.T) {
	for name, tt := range map[string]struct{ key, want string }{
		"of low order":  {useless, "keys.age: nothing can be encrypted to"},
		"letters alone": {"age1" + strings.Repeat("q", 58), "keys.age: \"age1qqq"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newParamLab(t)
			l.node("web-1", "web", schema.NodeActive)
			l.spoil(l.node("evil-1", "web", schema.NodeActive), tt.key)
			l.fails(3, tt.want, hunter, "param", "put", "/web/pass", "--type", "SecureString", "--target", "tag:role=web")
			if code, out, errs := l.run("", "validate", l.dir); code != 3 || !strings.Contains(out+errs, tt.want) {
				t.Errorf("validate: exit %d: %s%s", code, out, errs)
			}
		})
	}
}

func TestGossipKeyIsSealedToNodesWhoseKeysWork(t *testing.T) {
	l := newParamLab(t)
	var bad []string
	for n := range agent.SealedKeyReaders + 4 {
		name := fmt.Sprintf("web-%d", n)
		if n < 2 {
			name = fmt.Sprintf("evil-%d", n)
		}
		state := l.node(name, "web", schema.NodeActive)
		if n < 2 {
			bad = append(bad, state)
		}
	}
	l.spoil(bad[0], useless)
	l.spoil(bad[1], "age1"+strings.Repeat("q", 58))
	code, out, errs := l.run("", "key", "gossip", "rotate", "--repo", l.dir, "-o", "json")
	var v struct {
		Step, Key string
		LeftOut   []string
	}
	if code != 0 || json.Unmarshal([]byte(out), &v) != nil || v.Step != "add" {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if stanzas := len(regexp.MustCompile(`BEGIN AGE`).FindAllString(l.file(agent.SealedKeyFile(v.Key)), -1)); stanzas != 1 {
		t.Errorf("%d sealed texts", stanzas)
	}
	for _, name := range v.LeftOut {
		if !strings.HasPrefix(name, "evil-") || !strings.Contains(errs, name) {
			t.Errorf("%s is left out; it says %s", name, errs)
		}
	}
}

func TestGossipKeyNeedsOneNodeWhoseKeyWorks(t *testing.T) {
	l := newParamLab(t)
	l.spoil(l.node("evil-1", "web", schema.NodeActive), useless)
	code, out, errs := l.run("", "key", "gossip", "rotate", "--repo", l.dir)
	if code == 0 || !strings.Contains(errs, "evil-1") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	l.node("web-1", "web", schema.NodeActive)
	code, out, errs = l.run("", "key", "gossip", "rotate", "--repo", l.dir)
	if code != 0 || !strings.Contains(out, "add the gossip key") {
		t.Errorf("with another: exit %d: %s%s", code, out, errs)
	}
}

// A step waits until the one before can have reached all nodes: ten minutes from its commit, and then nobody says --now.
func TestAStepOfARotationWaitsTenMinutes(t *testing.T) {
	l := newParamLab(t)
	l.node("web-1", "web", schema.NodeActive)
	committed := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	ctx, g := context.Background(), git{dir: l.dir}
	at := committed.Format(time.RFC3339)
	t.Setenv("GIT_COMMITTER_DATE", at)
	commit := func() {
		t.Helper()
		for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "step"}} {
			if _, err := g.run(ctx, nil, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	rotate := func(after time.Duration) (int, string) {
		t.Helper()
		l.now = committed.Add(after)
		code, out, errs := l.run("", "key", "gossip", "rotate", "--repo", l.dir)
		return code, out + errs
	}
	if code, said := rotate(0); code != 0 || !strings.Contains(said, "add the gossip key") {
		t.Fatalf("the first step: exit %d: %s", code, said)
	}
	commit()
	if code, said := rotate(10*time.Minute - time.Second); code != 1 || !strings.Contains(said, "wait 1s more") {
		t.Errorf("a second too early: exit %d: %s", code, said)
	}
	if code, said := rotate(10 * time.Minute); code != 0 || !strings.Contains(said, "use the gossip key") {
		t.Errorf("ten minutes later: exit %d: %s", code, said)
	}
}
